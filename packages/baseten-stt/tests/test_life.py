from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import time
import tracemalloc
import weakref

import numpy as np
import pytest

from livekit.agents.stt import SpeechEventType
from livekit.plugins.baseten_sandbox import Fault, Sandbox
from livekit.plugins.baseten_sandbox.engines.tones import silence, speak
from livekit.plugins.baseten_stt import STT

from .rig import FAST, PAUSE, Rig, collect, finals, push, until


async def test_the_first_stream_takes_the_connection_dialled_ahead(rig: Rig):
    stt = rig.stt()
    reused = []
    stt.on("metrics_collected", lambda m: reused.append(m.connection_reused))
    stt.prewarm()
    stt.prewarm()
    (session,) = await rig.sandbox.wait_sessions(1)
    stream = stt.stream(conn_options=FAST)
    push(stream, np.concatenate([silence(0.3), speak("at once")[0]]))
    stream.end_input()
    assert finals(await collect(stream)) == ["at once"]
    assert rig.sandbox.sessions == [session]
    assert reused[0] is True


async def test_a_connection_that_died_while_waiting_is_replaced(rig: Rig):
    stt = rig.stt()
    stt.prewarm()
    await rig.sandbox.wait_for(lambda: rig.sandbox.open_sockets == 1)
    await rig.sandbox.strike(Fault(do="close", code=1001))
    await rig.sandbox.wait_sessions(1, closed=True)
    stream = stt.stream(conn_options=FAST)
    push(stream, np.concatenate([silence(0.3), speak("anew")[0]]))
    stream.end_input()
    assert finals(await collect(stream)) == ["anew"]


async def test_a_failed_prewarm_is_told_and_forgotten(rig: Rig, caplog):
    rig.sandbox.faults.add(Fault(do="status", status=503))
    stt = rig.stt()
    stt.prewarm()
    await rig.sandbox.wait_sessions(1, closed=True)
    stream = stt.stream(conn_options=FAST)
    push(stream, np.concatenate([silence(0.3), speak("anyway")[0]]))
    stream.end_input()
    assert finals(await collect(stream)) == ["anyway"]
    assert "connecting ahead failed" in caplog.text


def test_prewarm_without_a_loop_does_nothing():
    STT(api_key="k", model_endpoint="wss://example.com/websocket").prewarm()


async def test_closing_ends_every_stream_soon(rig: Rig):
    rig.sandbox.faults.add(Fault(do="silence"), times=3)
    stt = rig.stt()
    streams = [stt.stream(conn_options=FAST) for _ in range(3)]
    stt.prewarm()
    await rig.sandbox.wait_sessions(3)
    start = time.monotonic()
    await stt.aclose()
    assert time.monotonic() - start < 2
    for stream in streams:
        assert await collect(stream) == []


async def test_closing_while_dialling_ends_at_once(rig: Rig):
    rig.sandbox.faults.add(Fault(do="park"), times=None)
    stt = rig.stt()
    stream = stt.stream(conn_options=FAST)
    stt.prewarm()
    await rig.sandbox.wait_sessions(1)
    start = time.monotonic()
    await stt.aclose()
    assert time.monotonic() - start < 2
    assert await collect(stream) == []


async def test_a_dropped_stream_is_freed_and_its_socket_closed(rig: Rig):
    stt = rig.stt()
    stream = stt.stream(conn_options=FAST)
    push(stream, np.concatenate([silence(0.3), speak("hello")[0], PAUSE]))
    await until(stream, SpeechEventType.END_OF_SPEECH)
    ref = weakref.ref(stream)
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda *_: None)  # the framework's own tasks complain
    del stream
    for _ in range(500):  # what the loop had under way still holds it for a turn or two
        gc.collect()
        await asyncio.sleep(0.01)
        if rig.sandbox.open_sockets == 0:
            break
    assert rig.sandbox.open_sockets == 0
    assert ref() is None


async def test_a_dropped_stt_closes_the_connection_dialled_ahead(sandbox: Sandbox, http_session):
    stt = STT(
        api_key=sandbox.api_key, model_endpoint=sandbox.stt_endpoint, http_session=http_session
    )
    stt.prewarm()
    await sandbox.wait_for(lambda: sandbox.open_sockets == 1)
    await asyncio.wait([stt._dialer._warm])
    del stt
    gc.collect()
    await sandbox.wait_for(lambda: sandbox.open_sockets == 0)


async def test_a_cancelled_reader_leaves_nothing(rig: Rig):
    stream = rig.stt().stream(conn_options=FAST)
    reading = asyncio.create_task(collect(stream))
    await rig.sandbox.wait_sessions(1)
    reading.cancel()
    await asyncio.wait([reading])
    await stream.aclose()
    await rig.sandbox.wait_for(lambda: rig.sandbox.open_sockets == 0)


async def test_the_end_without_audio_ends_at_once(rig: Rig):
    stream = rig.stt().stream(conn_options=FAST)
    stream.end_input()
    assert await collect(stream) == []


async def test_the_offset_of_the_session_is_added_once_whatever_drops(rig: Rig):
    rig.sandbox.faults.add(Fault(do="reset", on="receive", kind="binary", after=20))
    stream = rig.stt().stream(conn_options=FAST)
    stream.start_time_offset = 100.0
    pcm, said = speak("where are we in time")
    before = time.time()
    push(stream, np.concatenate([silence(0.5), pcm, PAUSE]))
    stream.end_input()
    events = await collect(stream)
    final = next(e for e in events if e.type == SpeechEventType.FINAL_TRANSCRIPT)
    words = final.alternatives[0].words
    assert [w.start_time for w in words] == pytest.approx([100.5 + w.start for w in said], abs=0.02)
    end = next(e for e in events if e.type == SpeechEventType.END_OF_SPEECH)
    start = next(e for e in events if e.type == SpeechEventType.START_OF_SPEECH)
    assert before - 10 < start.speech_start_time <= end.speech_end_time <= time.time()
    assert final.request_id


@pytest.mark.timeout(240)
async def test_a_thousand_streams_leave_nothing_behind(rig: Rig):
    stt = rig.stt()
    pcm = silence(0.1)

    async def some(count: int) -> None:
        for _ in range(count):
            stream = stt.stream(conn_options=FAST)
            push(stream, pcm)
            stream.end_input()
            assert [e for e in await collect(stream) if e.alternatives] == []
            await stream.aclose()
            rig.sandbox.sessions.clear()

    await some(50)
    gc.collect()
    tracemalloc.start()
    before, tasks = tracemalloc.get_traced_memory()[0], len(asyncio.all_tasks())
    await some(1000)
    await rig.sandbox.wait_for(lambda: rig.sandbox.open_sockets == 0)
    gc.collect()
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert len(asyncio.all_tasks()) <= tasks
    assert grown < 5 * 2**20
    assert len(stt._streams) == 0


def test_importing_has_no_side_effects_and_stays_small():
    code = (
        "import sys, threading\n"
        "import livekit.plugins.baseten_stt\n"
        "assert threading.active_count() == 1\n"
        "for name in ('livekit.plugins.openai', 'livekit.plugins.baseten_llm', 'livekit.plugins.baseten_tts'):\n"
        "    assert name not in sys.modules, name\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=60)


def test_a_new_protocol_is_a_class_and_a_line(monkeypatch):
    from livekit.plugins.baseten_stt.protocols import PROTOCOLS, Alive, Defaults, Transcript

    class Shouting:
        defaults = Defaults("en", 1.0, 300, 30, False)
        keyterms = False
        sample_rate = 16000
        frame_samples = 160
        whole_frames = False
        checking = False

        def __init__(self, options) -> None:
            self.due = self.ended = False

        def opening(self):
            return ["HELLO"]

        def configured(self):
            return []

        def frame(self, pcm):
            return pcm

        def flush_silence(self):
            return 0

        def flush(self):
            return []

        def end(self):
            self.due = True
            return ["BYE"]

        def health_check(self):
            return None

        def receive(self, message):
            if message == "BYE":
                self.due, self.ended = False, True
                return [Transcript(final=True, text="HELLO WORLD", start=0.0, end=0.1)]
            return [Alive()]

    monkeypatch.setitem(PROTOCOLS, "shouting", Shouting)

    async def run() -> None:
        import aiohttp
        from aiohttp import web

        async def serve(request):
            ws = web.WebSocketResponse()
            await ws.prepare(request)
            async for message in ws:
                if message.data in ("HELLO", "BYE"):
                    await ws.send_str(message.data)
            return ws

        app = web.Application()
        app.router.add_get("/websocket", serve)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port = runner.addresses[0][1]
        async with aiohttp.ClientSession() as session:
            stt = STT(
                model="shouting",
                api_key="k",
                model_endpoint=f"ws://127.0.0.1:{port}/websocket",
                http_session=session,
            )
            stream = stt.stream(conn_options=FAST)
            push(stream, silence(0.2))
            stream.end_input()
            assert finals(await collect(stream)) == ["HELLO WORLD"]
            await stt.aclose()
        await runner.cleanup()

    asyncio.run(run())
