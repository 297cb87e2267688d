"""``chat``: one question, answered as it comes."""

from __future__ import annotations

import argparse
import sys

from livekit.agents import APIConnectOptions, utils
from livekit.agents.llm import ChatContext

from .components import Components
from .pipes import whole_text

__all__ = ["chat"]


async def chat(given: argparse.Namespace) -> int:
    """Print an answer as it comes.

    Raises:
        ValueError: an option can't be used, or there is no text.
        APIError: it failed.
    """
    llm = Components(given).llm()
    try:
        context = ChatContext()
        if given.system:
            context.add_message(role="system", content=given.system)
        context.add_message(role="user", content=await whole_text(given.text))
        options = APIConnectOptions(timeout=given.timeout)
        async with (
            utils.http_context.open(),
            llm.chat(chat_ctx=context, conn_options=options) as stream,
        ):
            said = False
            try:
                async for chunk in stream:
                    if chunk.delta and chunk.delta.content:
                        said = True
                        sys.stdout.write(chunk.delta.content)
                        sys.stdout.flush()
            finally:
                if said:
                    sys.stdout.write("\n")
                    sys.stdout.flush()
    finally:
        await llm.aclose()
    return 0
