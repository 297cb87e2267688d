from __future__ import annotations

import os
from typing import Literal, get_args

__all__ = ["ApiKey", "AuthScheme"]

AuthScheme = Literal["Bearer", "Api-Key"]
"""How the key is presented. Baseten documents ``Bearer``; ``Api-Key`` is the older form, which
federated keys still need (https://docs.baseten.co/inference/calling-your-model)."""

_ENV = "BASETEN_API_KEY"
_HIDDEN = "[api key]"


class ApiKey:
    """A Baseten API key that shows in no repr, format, log record or pickle.

    The characters leave it in two ways only: as the value of a request header, and through
    :meth:`reveal` for a client that builds the header itself.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        """Wrap a key.

        Raises:
            ValueError: the key is blank, or holds characters that can't stand in a header.
        """
        value = value.strip()
        if not value:
            raise ValueError(f"the Baseten API key is blank: pass api_key= or set {_ENV}")
        if not value.isascii() or not value.isprintable() or " " in value:
            raise ValueError(
                "the Baseten API key holds a space, a line break or a character that can't stand "
                f"in a header: check api_key= or {_ENV}"
            )
        self._value = value

    @classmethod
    def resolve(cls, api_key: str | ApiKey | None = None) -> ApiKey:
        """The key given, else the one in ``BASETEN_API_KEY``.

        Raises:
            ValueError: neither holds one.
        """
        if isinstance(api_key, ApiKey):
            return api_key
        value = api_key if api_key is not None else os.environ.get(_ENV, "")
        if not value.strip():
            raise ValueError(
                "a Baseten API key is required: pass api_key= or set the environment variable "
                f"{_ENV} (https://app.baseten.co/settings/api_keys)"
            )
        return cls(value)

    def headers(self, scheme: AuthScheme = "Bearer") -> dict[str, str]:
        """The header that authenticates a request.

        Raises:
            ValueError: the scheme isn't one that Baseten knows.
        """
        if scheme not in get_args(AuthScheme):
            raise ValueError(f"auth_scheme must be 'Bearer' or 'Api-Key', not {scheme!r}")
        return {"Authorization": f"{scheme} {self._value}"}

    def reveal(self) -> str:
        """The bare key. Hand it to a client that builds its own header, never to a log."""
        return self._value

    def redact(self, text: str) -> str:
        """The text, with the key replaced wherever it stands in it."""
        return text.replace(self._value, _HIDDEN)

    def __repr__(self) -> str:
        return "ApiKey(hidden)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ApiKey) and other._value == self._value

    def __hash__(self) -> int:
        return hash((ApiKey, self._value))

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("an ApiKey isn't pickled: pass it through the environment instead")
