"""Reasoning never reaches speech, however a server marks it and however its text is cut."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, strategies as st

from livekit.plugins.baseten_llm.events import DONE, EventReader
from livekit.plugins.baseten_llm.reasoning import SpokenText
from livekit.plugins.baseten_sandbox.engines.dialogue import Raw, Reasoning, Silence, Text

# Without tags, but with what tags are made of.
plain = st.text(alphabet="ab <>/thinkk\n", max_size=20).filter(
    lambda text: "<think>" not in text and "</think>" not in text
)


def spoken(pieces: list[str], **options: bool) -> str:
    text = SpokenText(**options)
    return "".join([text.feed(piece) for piece in pieces]) + text.end()


@st.composite
def cut(draw: st.DrawFn, text: str) -> list[str]:
    places = sorted(draw(st.lists(st.integers(0, len(text)), max_size=8)))
    return [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True)]


@given(st.data(), plain)
def test_text_without_reasoning_is_spoken_whole(data: st.DataObject, text: str) -> None:
    pieces = data.draw(cut(text))
    assert spoken(pieces) == text
    assert spoken(pieces, may_start_thinking=True) == text


@given(st.data(), st.lists(st.tuples(plain, plain), max_size=3), plain)
def test_text_in_tags_is_never_spoken(data, rounds, last) -> None:
    # White space after a closing tag belongs to the tag, up to the next text that is heard.
    text, expected, after_tag = "", "", False
    for before, thought in [*rounds, (last, None)]:
        heard = before.lstrip() if after_tag else before
        after_tag = (after_tag and not heard) or thought is not None
        text += before if thought is None else f"{before}<think>{thought}</think>"
        expected += heard
    assert spoken(data.draw(cut(text))) == expected


@given(st.data(), st.sampled_from(["", " ", "\n\n"]), plain, plain)
def test_a_tag_at_the_start_shows_where_reasoning_begins(data, blank, thought, answer) -> None:
    pieces = data.draw(cut(f"{blank}<think>{thought}</think>{answer}"))
    text = SpokenText(may_start_thinking=True)
    heard = "".join([text.feed(piece) for piece in pieces]) + text.end(complete=False)
    assert heard == blank + answer.lstrip()
    assert text.started_thinking is False


@given(st.data(), plain.filter(str.strip), plain, plain)
def test_reasoning_may_speak_of_tags(data, thought, more, answer) -> None:
    pieces = data.draw(cut(f"{thought}<think>{more}</think>{answer}"))
    assert spoken(pieces, may_start_thinking=True) == answer.lstrip()


@given(st.data(), plain, plain)
def test_text_before_an_orphan_tag_is_never_spoken(data, thought, answer) -> None:
    pieces = data.draw(cut(f"{thought}</think>{answer}"))
    assert spoken(pieces, may_start_thinking=True) == answer.lstrip()


@pytest.mark.parametrize(
    ("text", "heard"),
    [
        ("<think>a</think>\n\nHello", "Hello"),
        ("Hi <think>a</think> there", "Hi there"),
        ("one<think>never closed", "one"),
        ("a < b </thin c", "a < b </thin c"),
        ("ends with <th", "ends with <th"),
    ],
)
def test_examples(text: str, heard: str) -> None:
    assert spoken(list(text)) == heard


def test_held_back_text_of_a_cut_answer_is_reasoning() -> None:
    text = SpokenText(may_start_thinking=True)
    assert text.feed("Let me think about") == ""
    assert text.end(complete=False) == ""
    assert text.started_thinking is None


def test_what_a_tag_opens_and_nothing_closes_is_not_spoken() -> None:
    assert spoken(["Well", "<thi", "nk>hm"], may_start_thinking=True) == "Well"


@given(st.data(), st.lists(st.sampled_from(["\n", "\r\n", "\r"]), min_size=1, max_size=3))
def test_events_are_read_however_the_bytes_are_cut(data, ends) -> None:
    end = ends[0]
    lines = [
        ": hello",
        "event: x",
        'data: {"a": "é\u2028"}',
        "",
        "data: {",
        'data: "b": 1}',
        "",
        "data:[DONE]",
        "",
    ]
    wire = end.join(lines).encode() + end.encode()
    places = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=9)))
    reader = EventReader()
    read = [
        e
        for a, b in zip([0, *places], [*places, len(wire)], strict=True)
        for e in reader.feed(wire[a:b])
    ]
    if end == "\r":
        # A last CR may yet turn out to be half of a CRLF.
        read += reader.feed(b"\n")
    assert read == [{"a": "é\u2028"}, {"b": 1}, DONE]


@given(st.lists(st.binary(max_size=40), max_size=5))
def test_rubbish_is_a_value_error_or_nothing(pieces: list[bytes]) -> None:
    reader = EventReader()
    try:
        for piece in pieces:
            for event in reader.feed(piece):
                assert event == DONE or isinstance(event, dict)
    except ValueError:
        pass


def event(delta: dict[str, str]) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": None}
    return b"data: " + json.dumps({"id": "x", "choices": [choice]}).encode() + b"\n\n"


THOUGHT, ANSWER = "the user wants me to", "Good evening to you."
FORMS = {
    "reasoning_content": [Reasoning(THOUGHT), Text(ANSWER)],
    "tags": [Text(f"<think>{THOUGHT}</think>\n\n{ANSWER}")],
    "orphan-tag": [Text(f"{THOUGHT} </think> {ANSWER}")],
    "reasoning": [
        Raw(
            event({"reasoning": THOUGHT})
            + event({"content": ANSWER})
            + b'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'
        )
    ],
}


@pytest.mark.parametrize("form", FORMS)
async def test_reasoning_is_left_out_in_every_form(serve, ask, form) -> None:
    served = await serve(FORMS[form])
    llm = served.llm(
        base_url=served.sandbox.url("llm1", "sync/v1"), model="deepseek-ai/DeepSeek-R1"
    )
    async with llm.chat(chat_ctx=ask("x")) as stream:
        heard = [c.delta.content async for c in stream if c.delta and c.delta.content]
    assert "".join(heard) == ANSWER


async def test_a_gemma_marks_reasoning_in_its_own_way(serve, ask) -> None:
    served = await serve([Text(f"<|channel>thought\n{THOUGHT}<channel|>{ANSWER}")])
    llm = served.llm(base_url=served.sandbox.url("llm1", "sync/v1"), model="google/gemma-4-31b-it")
    assert (await llm.chat(chat_ctx=ask("x")).collect()).text == ANSWER


async def test_thinking_that_was_asked_for_is_never_spoken(serve, ask) -> None:
    served = await serve(FORMS["orphan-tag"], ANSWER)
    llm = served.llm(base_url=served.sandbox.url("llm1", "sync/v1"), enable_thinking=True)
    for _ in range(2):
        assert (await llm.chat(chat_ctx=ask("x")).collect()).text == ANSWER


@pytest.mark.parametrize("model", ["deepseek-ai/DeepSeek-R1", "my/own"])
async def test_text_is_not_held_back_where_the_server_tells_reasoning_apart(
    serve, ask, model
) -> None:
    served = await serve([Reasoning(THOUGHT), Text(ANSWER), Silence()])
    llm = served.llm(
        base_url=served.sandbox.url("llm1", "sync/v1"), model=model, enable_thinking=True
    )
    heard = ""
    async with llm.chat(chat_ctx=ask("x")) as stream:
        async for chunk in stream:
            heard += (chunk.delta and chunk.delta.content) or ""
            if heard == ANSWER:
                break
    assert heard == ANSWER


async def test_an_answer_is_not_lost_where_reasoning_was_feared(serve, ask) -> None:
    served = await serve(ANSWER)
    llm = served.llm(starts_thinking=True)
    assert (await llm.chat(chat_ctx=ask("x")).collect()).text == ANSWER
