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
        may_start_thinking: Hold the text back until it shows what it is: ``</think>`` or
            ``<think>`` comes, the server tells reasoning apart, or the answer ends.
        tags: What the model writes in place of ``<think>`` and ``</think>``. Both begin alike.
    """

    def __init__(self, *, may_start_thinking: bool = False, tags: tuple[str, str] = _TAGS) -> None:
        self._opening, self._closing = tags
        self._unread = ""
        self._held: list[str] = []
        self._waiting = may_start_thinking
        self._thinking = False
        self._after_tag = False
        self.started_thinking: bool | None = None
        """Whether the answer has shown that it began inside the reasoning; None if it hasn't yet."""
        self.has_held = False
        """Whether any words were held back until they showed what they are."""

    def feed(self, text: str) -> str:
        """Take the next piece; return what of it, and of earlier ones, can be spoken."""
        if not (self._unread or self._waiting or self._thinking) and self._opening[0] not in text:
            return self._spoken(text)
        self._unread += text
        spoken = ""
        while self._unread:
            opened, closed = self._unread.find(self._opening), self._unread.find(self._closing)
            if closed >= 0 and (self._thinking or opened < 0 or closed < opened):
                self._unread = self._unread[closed + len(self._closing) :]
                if not self._thinking:
                    self._held.clear()
                    self.started_thinking = True
                self._thinking = self._waiting = False
                # The blank lines between a closing tag and the answer belong to the tag.
                self._after_tag = True
            elif self._thinking:
                self._unread = _tag_start(self._unread, self._closing)
                break
            elif opened >= 0:
                before = self._unread[:opened]
                self._unread = self._unread[opened + len(self._opening) :]
                if self._waiting and (before.strip() or not self._is_blank()):
                    # Reasoning may speak of tags. Only one at the very start opens for certain.
                    self._hold(before + self._opening)
                else:
                    spoken += self.release() + self._spoken(before)
                    self._thinking = True
            else:
                kept = max(
                    _tag_start(self._unread, self._opening),
                    _tag_start(self._unread, self._closing),
                    key=len,
                )
                clear, self._unread = self._unread[: len(self._unread) - len(kept)], kept
                if self._waiting:
                    self._hold(clear)
                else:
                    spoken += self._spoken(clear)
                break
        return spoken

    def release(self) -> str:
        """Note that the answer didn't begin inside its reasoning; return what was held back.

        Besides what the text shows by itself, a server that keeps reasoning apart shows it.
        """
        if not self._waiting:
            return ""
        self._waiting = False
        self.started_thinking = False
        held = "".join(self._held)
        self._held.clear()
        return self._spoken(held)

    def end(self, *, complete: bool = True) -> str:
        """Return what was held back and turns out to be meant for the listener.

        Args:
            complete: Whether the answer came to its end as an answer in words. If it was cut off,
                or led to a tool, text still held back may be reasoning that nothing closed.
        """
        unread, self._unread = self._unread, ""
        if self._thinking or (self._waiting and not complete):
            return ""
        if not self._waiting:
            return self._spoken(unread)
        self._hold(unread)
        if self._is_blank():
            return "".join(self._held)
        # What a tag opens and nothing closes is never spoken.
        return self.release().partition(self._opening)[0]

    def _hold(self, text: str) -> None:
        self._held.append(text)
        self.has_held = self.has_held or bool(text.strip())

    def _is_blank(self) -> bool:
        return not any(text.strip() for text in self._held)

    def _spoken(self, text: str) -> str:
        if self._after_tag:
            text = text.lstrip()
            self._after_tag = not text
        return text


def _tag_start(text: str, tag: str) -> str:
    """The end of the text that may be the beginning of a tag."""
    for length in range(min(len(text), len(tag) - 1), 0, -1):
        if text.endswith(tag[:length]):
            return tag[:length]
    return ""
