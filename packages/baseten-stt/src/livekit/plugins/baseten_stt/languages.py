"""Language codes and names, as each protocol writes them."""

from __future__ import annotations

from livekit.agents import LanguageCode

__all__ = ["AUTO", "joiner", "language_code", "parse_language", "qwen_name", "whisper_code"]

AUTO = "auto"

# The languages of Qwen3-ASR under the names that it takes and answers with
# (https://huggingface.co/Qwen/Qwen3-ASR-1.7B).
_QWEN = {
    "ar": "Arabic",
    "cs": "Czech",
    "da": "Danish",
    "de": "German",
    "el": "Greek",
    "en": "English",
    "es": "Spanish",
    "fa": "Persian",
    "fi": "Finnish",
    "fil": "Filipino",
    "fr": "French",
    "hi": "Hindi",
    "hu": "Hungarian",
    "id": "Indonesian",
    "it": "Italian",
    "ja": "Japanese",
    "ko": "Korean",
    "mk": "Macedonian",
    "ms": "Malay",
    "nl": "Dutch",
    "pl": "Polish",
    "pt": "Portuguese",
    "ro": "Romanian",
    "ru": "Russian",
    "sv": "Swedish",
    "th": "Thai",
    "tr": "Turkish",
    "vi": "Vietnamese",
    "yue": "Cantonese",
    "zh": "Chinese",
}
_CODES = {name.lower(): code for code, name in _QWEN.items()} | {"mandarin": "zh", "tagalog": "fil"}
_READY = {name: LanguageCode(code) for code in _QWEN for name in (code, _QWEN[code])}
_NO_CODE = LanguageCode("")
_UNSPACED = frozenset({"zh", "yue", "ja", "th", "lo", "my", "km", "bo"})


def parse_language(language: str) -> str:
    """A user's language as a code: ``"en"``, ``"en-US"``, ``"English"``, ``"Cantonese"``, ``"auto"``.

    Raises:
        ValueError: it is blank.
    """
    name = language.strip()
    if not name:
        raise ValueError("language is blank: give a code such as 'en', or 'auto' to detect it")
    known = _CODES.get(name.lower())
    return known or str(LanguageCode(name))


def _base(code: str) -> str:
    if code.split("-")[0].lower() in _QWEN:  # LanguageCode takes some of these for others
        return code.split("-")[0].lower()
    return LanguageCode(code).language


def whisper_code(code: str) -> str:
    """A code as Whisper takes it: ``en-US`` is ``en``."""
    return AUTO if code == AUTO else _base(code)


def qwen_name(code: str) -> str:
    """A code as Qwen3-ASR's name of the language: ``en`` is ``English``."""
    if code == AUTO:
        return AUTO
    name = _QWEN.get(_base(code)) or LanguageCode(code).to_language_name()
    return name[:1].upper() + name[1:] if name else code


def language_code(name: object) -> LanguageCode:
    """What a server calls a language, as LiveKit's code; blank when it doesn't say."""
    if not isinstance(name, str):
        return _NO_CODE
    known = _READY.get(name)  # each transcript names one
    if known is not None:
        return known
    if not name.strip():
        return _NO_CODE
    return LanguageCode(_CODES.get(name.strip().lower(), name.strip()))


def joiner(code: str) -> str:
    """What stands between two pieces of text in a language."""
    return "" if code and _base(code) in _UNSPACED else " "
