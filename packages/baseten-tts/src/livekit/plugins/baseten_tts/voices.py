"""The cloned voices of a Qwen3-TTS deployment.

An uploaded voice lives on the disk of one replica: it isn't on the others, and is gone after a
restart. Bake voices into the deployment for anything but a trial.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from typing import Any

import aiohttp

from livekit.agents import utils
from livekit.plugins.baseten_common import (
    ApiKey,
    AuthScheme,
    Closed,
    Endpoint,
    Transport,
    WebSocket,
    errors,
    timeout as deadline,
)

from .session import check_clip, is_remote, read_clip

__all__ = ["list_voices", "register_voice", "remove_voice"]

_MAX_UPLOAD = 11 * 2**20  # bytes; the server takes a message of 16 MiB


async def register_voice(
    *,
    model_endpoint: str | None = None,
    name: str,
    ref_audio_path: str,
    ref_text: str | None = None,
    api_key: str | None = None,
    consent: str = "user_consent",
    model_id: str | None = None,
    chain_id: str | None = None,
    timeout: float = 60.0,
    auth_scheme: AuthScheme = "Bearer",
    http_session: aiohttp.ClientSession | None = None,
) -> dict[str, Any]:
    """Clone a voice from 10 to 20 seconds of clean speech.

    Args:
        model_endpoint: Full ``wss://`` URL of the deployment; else ``model_id``, ``chain_id``, or
            the environment variables of :class:`.TTS`.
        name: The name to give it.
        ref_audio_path: The recording; its extension says its format.
        ref_text: What is said in it. Without it the clone is less faithful.
        api_key: Baseten API key, or ``BASETEN_API_KEY``.
        consent: What the speaker has consented to, as the server records it.
        model_id: Id of the model.
        chain_id: Id of the chain.
        timeout: Seconds for all of it.
        auth_scheme: How the key is presented.
        http_session: Session to use in place of LiveKit's or a new one.

    Returns:
        The voice as the server describes it.

    Raises:
        ValueError: an argument is missing or unusable.
        APIError: the server refused, or didn't answer in time.
    """
    _check_name(name)
    if is_remote(ref_audio_path):
        raise ValueError("ref_audio_path names a file; got a URL")
    check_clip(ref_audio_path, limit=_MAX_UPLOAD)
    extension = os.path.splitext(ref_audio_path)[1].lstrip(".").lower()
    desk = _Desk(model_endpoint, model_id, chain_id, api_key, auth_scheme, http_session)
    result = await desk.ask(
        "voice.add",
        limit=timeout,
        name=name,
        consent=consent,
        audio_data=await read_clip(ref_audio_path),
        audio_format=extension or "wav",
        **({"ref_text": ref_text} if ref_text else {}),
    )
    voice = result.get("voice")
    return dict(voice) if isinstance(voice, dict) else result


async def list_voices(
    *,
    model_endpoint: str | None = None,
    api_key: str | None = None,
    model_id: str | None = None,
    chain_id: str | None = None,
    timeout: float = 30.0,
    auth_scheme: AuthScheme = "Bearer",
    http_session: aiohttp.ClientSession | None = None,
) -> dict[str, Any]:
    """The voices of the replica that answers.

    Args:
        model_endpoint: As in :func:`register_voice`, like all others here.
        api_key: Baseten API key, or ``BASETEN_API_KEY``.
        model_id: Id of the model.
        chain_id: Id of the chain.
        timeout: Seconds for all of it.
        auth_scheme: How the key is presented.
        http_session: Session to use in place of LiveKit's or a new one.

    Returns:
        ``voices`` are built in, ``uploaded_voices`` were registered.

    Raises:
        ValueError: an argument is missing or unusable.
        APIError: the server refused, or didn't answer in time.
    """
    desk = _Desk(model_endpoint, model_id, chain_id, api_key, auth_scheme, http_session)
    return await desk.ask("voice.list", limit=timeout)


async def remove_voice(
    *,
    name: str,
    model_endpoint: str | None = None,
    api_key: str | None = None,
    model_id: str | None = None,
    chain_id: str | None = None,
    timeout: float = 30.0,
    auth_scheme: AuthScheme = "Bearer",
    http_session: aiohttp.ClientSession | None = None,
) -> dict[str, Any]:
    """Delete a registered voice from the replica that answers.

    Args:
        name: The voice.
        model_endpoint: As in :func:`register_voice`, like all others here.
        api_key: Baseten API key, or ``BASETEN_API_KEY``.
        model_id: Id of the model.
        chain_id: Id of the chain.
        timeout: Seconds for all of it.
        auth_scheme: How the key is presented.
        http_session: Session to use in place of LiveKit's or a new one.

    Returns:
        The server's answer.

    Raises:
        ValueError: an argument is missing or unusable.
        APIError: the server refused, or didn't answer in time.
    """
    _check_name(name)
    desk = _Desk(model_endpoint, model_id, chain_id, api_key, auth_scheme, http_session)
    return await desk.ask("voice.remove", limit=timeout, name=name)


def _check_name(name: str) -> None:
    if not name.strip():
        raise ValueError("name is blank: name the voice")


class _Desk:
    """Asks a deployment one thing on a connection of its own."""

    def __init__(
        self,
        model_endpoint: str | None,
        model_id: str | None,
        chain_id: str | None,
        api_key: str | None,
        auth_scheme: AuthScheme,
        http_session: aiohttp.ClientSession | None,
    ) -> None:
        endpoint = Endpoint.resolve(
            "TTS", model_endpoint=model_endpoint, model_id=model_id, chain_id=chain_id
        )
        if endpoint is None:
            raise Endpoint.missing("TTS")
        self._endpoint = endpoint
        self._key = ApiKey.resolve(api_key)
        self._scheme = auth_scheme
        self._session = http_session

    async def ask(self, question: str, *, limit: float, **details: str) -> dict[str, Any]:
        """The answer to one message.

        Args:
            question: The message's type, such as ``voice.list``.
            limit: Seconds for all of it.
            details: What else the message says.
        """
        async with contextlib.AsyncExitStack() as stack:
            session = self._session or _shared_session()
            if session is None:
                # Voices are managed from scripts too, where LiveKit has no session.
                session = await stack.enter_async_context(aiohttp.ClientSession(trust_env=True))
            transport = Transport(api_key=self._key, auth_scheme=self._scheme, http_session=session)
            try:
                async with deadline(limit):
                    ws = await transport.connect(self._endpoint, what=question, timeout=limit)
                    try:
                        await ws.send(json.dumps({"type": question, **details}))
                        answer = await self._answer(ws, question)
                    except BaseException:
                        ws.abort()  # a goodbye would take time that there may not be any more
                        raise
                    stack.push_async_callback(ws.close, timeout=0.5)
                    return answer
            except asyncio.TimeoutError:
                raise errors.timed_out(question, limit) from None

    async def _answer(self, ws: WebSocket, question: str) -> dict[str, Any]:
        while True:
            reply = await ws.receive()
            if isinstance(reply, Closed):
                raise ws.error(reply)
            message = _read(reply, question)
            kind = message.get("type")
            answers = kind == f"{question}.result"
            if kind == "error" or (answers and message.get("success") is False):
                raise errors.from_frame(
                    message, what=question, request_id=ws.request_id, key=self._key
                )
            if answers:
                return message


def _shared_session() -> aiohttp.ClientSession | None:
    try:
        return utils.http_context.http_session()
    except RuntimeError:
        return None


def _read(reply: str | bytes, question: str) -> dict[str, Any]:
    if isinstance(reply, bytes):
        return {}
    try:
        message = json.loads(reply)
    except (ValueError, RecursionError):
        raise errors.from_finding(
            "the server sent a message that isn't JSON", what=question
        ) from None
    return message if isinstance(message, dict) else {}
