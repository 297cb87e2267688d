"""Nothing of LiveKit's, OpenAI's or the caller's leaves or is logged where it shouldn't."""

from __future__ import annotations

import logging
import traceback
from types import SimpleNamespace

import pytest

from livekit.agents import APIConnectOptions
from livekit.agents.job import _JobContextVar
from livekit.agents.llm import ChatContext
from livekit.plugins.baseten_llm import LLM
from livekit.plugins.baseten_sandbox.engines.dialogue import Cut, Failure, Refusal, Silence, Text
from livekit.plugins.baseten_sandbox.engines.rules import RuleEngine

SECRET = "bt-secret-0123456789"

# Such as no header holds by chance: ids that go out are random.
PRIVATE = {
    "LIVEKIT_WORKER_TOKEN": "private-worker-token",
    "OPENAI_API_KEY": "private-openai-key",
    "OPENAI_ORG_ID": "private-organisation",
    "OPENAI_PROJECT_ID": "private-project",
    "OPENAI_CUSTOM_HEADERS": "x-gateway-secret: private-gateway",
}


async def test_no_header_of_livekit_or_openai_goes_out(serve, ask, monkeypatch) -> None:
    for name, value in PRIVATE.items():
        monkeypatch.setenv(name, value)
    room = SimpleNamespace(sid="private-room-sid", name="private-room")
    job = SimpleNamespace(id="private-job", room=room)
    agent = SimpleNamespace(identity="private-agent", sid="private-agent-sid")
    token = _JobContextVar.set(SimpleNamespace(job=job, agent=agent, inference_headers={}))
    try:
        served = await serve(engine=RuleEngine())
        llm = served.llm(extra_headers={"x-own": "1"})
        await llm.chat(chat_ctx=ask("Hello")).collect()
        await llm.list_models()
    finally:
        _JobContextVar.reset(token)
    for record in served.sandbox.sessions:
        assert not [n for n in record.headers if n.startswith(("x-livekit", "openai-"))]
        assert not [n for n in record.headers if n.startswith("x-gateway")]
        assert "private" not in " ".join(record.headers.values())
    assert served.chats[0].headers["x-own"] == "1"


@pytest.mark.parametrize("scheme", ["Bearer", "Api-Key"])
async def test_the_key_goes_out_in_the_scheme_asked_for(serve, ask, scheme) -> None:
    served = await serve(engine=RuleEngine())
    llm = served.llm(auth_scheme=scheme)
    await llm.chat(chat_ctx=ask("Hello")).collect()
    assert (served.chats[0].scheme, served.chats[0].authorized) == (scheme, True)


async def test_each_conversation_has_one_opaque_value(serve, ask) -> None:
    served = await serve("A.", "B.", "C.", "D.")
    llm = served.llm()
    first, second = ask("My name is Zwingli", system="s"), ask("My name is Quixote", system="s")
    for chat_ctx in (first, second):
        await llm.chat(chat_ctx=chat_ctx.copy()).collect()
        chat_ctx.add_message(role="assistant", content="Hello.")
        chat_ctx.add_message(role="user", content="How are you?")
        await llm.chat(chat_ctx=chat_ctx.copy()).collect()
    values = [record.headers["x-session-affinity"] for record in served.chats]
    assert values[0] == values[1] != values[2] == values[3]
    ids = [item.id for item in first.items]
    assert not any(part in value for value in values for part in ("Zwingli", "Quixote", *ids))


async def test_an_agent_that_speaks_first_keeps_its_value(serve) -> None:
    served = await serve("A.", "B.", "C.")
    llm = served.llm()
    chat_ctx = ChatContext()
    chat_ctx.add_message(role="system", content="Greet the user.")
    await llm.chat(chat_ctx=chat_ctx).collect()
    chat_ctx.add_message(role="assistant", content="Hello.")
    chat_ctx.add_message(role="user", content="How are you?")
    await llm.chat(chat_ctx=chat_ctx).collect()
    chat_ctx.add_message(role="user", content="Are you there?")
    cut = ChatContext(chat_ctx.items[2:])
    await llm.chat(chat_ctx=cut).collect()
    values = {record.headers["x-session-affinity"] for record in served.chats}
    assert len(values) == 1


async def test_session_affinity_can_be_switched_off(serve, ask) -> None:
    served = await serve("A.")
    await served.llm(session_affinity=False).chat(chat_ctx=ask("x")).collect()
    assert "x-session-affinity" not in served.chats[0].headers


@pytest.mark.parametrize(
    "turn",
    [
        Refusal(401, {"error": f"bad key {SECRET}"}),
        Refusal(500, f"boom {SECRET}"),
        [Text("a"), Failure({"error": {"message": f"bad key {SECRET}", "code": 400}})],
        [Text("a"), Cut()],
        [Silence(before_headers=True)],
    ],
)
async def test_the_key_shows_nowhere(serve, ask, caplog, turn) -> None:
    served = await serve(turn, api_key=SECRET)
    llm = served.llm(api_key=SECRET)
    assert SECRET not in repr(llm) + repr(llm._options) + repr(vars(llm))
    options = APIConnectOptions(max_retry=0, timeout=0.3)
    with caplog.at_level(logging.DEBUG, logger="livekit"):
        try:
            await llm.chat(chat_ctx=ask("my private words"), conn_options=options).collect()
        except Exception as error:
            chain, seen = error, []
            while chain is not None:
                seen.append(repr(chain) + str(chain))
                chain = chain.__cause__ or chain.__context__
            shown = "".join(seen) + "".join(traceback.format_exception(error))
        else:
            pytest.fail("no error")
    assert SECRET not in shown
    logged = "".join(record.getMessage() + str(vars(record)) for record in caplog.records)
    assert SECRET not in logged
    assert "my private words" not in logged


async def test_an_untrusted_certificate_is_refused_and_a_trusted_one_taken(
    serve, ask, monkeypatch
) -> None:
    served = await serve("Hello.", tls=True)
    llm = served.llm()
    with pytest.raises(Exception, match="certificate isn't trusted") as caught:
        await llm.chat(chat_ctx=ask("x")).collect()
    assert not caught.value.retryable
    assert not served.chats
    monkeypatch.setenv("SSL_CERT_FILE", str(served.sandbox.certificate))
    assert (await served.llm().chat(chat_ctx=ask("x")).collect()).text == "Hello."


def test_plain_http_is_for_loopback_only() -> None:
    with pytest.raises(ValueError, match="unencrypted"):
        LLM(api_key=SECRET, base_url="http://example.com/v1")
