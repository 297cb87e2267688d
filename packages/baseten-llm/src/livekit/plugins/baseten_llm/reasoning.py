"""Keeps a model's reasoning out of what is spoken. No I/O."""

from __future__ import annotations

__all__ = ["SpokenText"]

_TAGS = ("<think>", "</think>")


class SpokenText:
    """Lets through the text of an answer that is meant to be heard, piece by piece.

    Left out are ``<think>…</think>``, and whatever stands before a ``</think>`` that was never
    opened: some chat templates open the tag in the prompt, so that the answer shows only its end.
    That is known for sure only when the tag comes, so an answer that may begin like this is held
    back until then.

    Args:
        starts_thinking: Hold the text back until ``</think>``, or to the end if none comes.
        tags: What the model writes in place of ``<think>`` and ``</think>``.
    """

    def __init__(self, *, starts_thinking: bool = False, tags: tuple[str, str] = _TAGS) -> None:
        self._opening, self._closing = tags
        self._held = ""
        self._waiting = starts_thinking
        self._thinking = False
        self._after_tag = False
        self.leaked = False
        """Whether a ``</think>`` came that nothing had opened or waited for."""

    def feed(self, text: str) -> str:
        """Take the next piece; return what of it, and of earlier ones, can be spoken."""
        if not self._held and not self._waiting and not self._thinking and "<" not in text:
            return self._spoken(text)
        self._held += text
        spoken = ""
        while self._held:
            if self._thinking:
                before, tag, after = self._held.partition(self._closing)
                self._held = after if tag else _tag_start(before, self._closing)
                if not tag:
                    break
                self._close()
                continue
            opened, closed = self._held.find(self._opening), self._held.find(self._closing)
            if opened >= 0 and (closed < 0 or opened < closed):
                # Text before an opening tag is no reasoning, even where one had to be feared.
                spoken += self._spoken(self._held[:opened])
                self._held = self._held[opened + len(self._opening) :]
                self._thinking, self._waiting = True, False
            elif closed >= 0:
                self._held = self._held[closed + len(self._closing) :]
                self.leaked = self.leaked or not self._waiting
                self._close()
            else:
                if not self._waiting:
                    kept = max(
                        _tag_start(self._held, self._opening),
                        _tag_start(self._held, self._closing),
                        key=len,
                    )
                    spoken += self._spoken(self._held[: len(self._held) - len(kept)])
                    self._held = kept
                break
        return spoken

    def tell_apart(self) -> None:
        """Note that the server itself keeps reasoning out of the text: none need be feared there."""
        self._waiting = False

    def end(self, *, complete: bool = True) -> str:
        """Return what was held back and turns out to be meant for the listener.

        Args:
            complete: Whether the model came to an end by itself. If it was cut off, text held
                back for fear of reasoning is reasoning, as far as anybody can tell.
        """
        held, self._held = self._held, ""
        if self._thinking or (self._waiting and not complete):
            return ""
        return self._spoken(held)

    def _close(self) -> None:
        self._thinking = self._waiting = False
        self._after_tag = True

    def _spoken(self, text: str) -> str:
        if self._after_tag:
            # The blank lines between a closing tag and the answer belong to the tag.
            text = text.lstrip()
            self._after_tag = not text
        return text


def _tag_start(text: str, tag: str) -> str:
    """The end of the text that may be the beginning of a tag."""
    for length in range(min(len(text), len(tag) - 1), 0, -1):
        if text.endswith(tag[:length]):
            return tag[:length]
    return ""
