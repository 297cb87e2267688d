"""The sandbox's own routes and fault files: faults and records for programs in any language."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import functools
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from aiohttp import web

from .deployments import Deployment
from .faults import Fault, FaultPlan
from .records import Journal, SessionRecord

__all__ = ["Control", "load_fault_file", "parse_fault", "queue_faults"]

_FAULT_FIELDS = {field.name for field in dataclasses.fields(Fault)} | {"payload_base64"}
_ENTRY_FIELDS = {"faults", "times", "deployment", "transport"}
_RANDOM_FIELDS = {"choices", "rate", "seed", "spread"}


def _only(given: Any, allowed: set[str], what: str) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise ValueError(f"{what} must be a JSON object")
    unknown = sorted(set(given) - allowed)
    if unknown:
        raise ValueError(
            f"{what} has no {', '.join(unknown)}: there are {', '.join(sorted(allowed))}"
        )
    return given


def parse_fault(given: Any) -> Fault:
    """Read a fault from JSON: the fields of `Fault`, and ``payload_base64`` for a binary payload.

    Raises:
        ValueError: It isn't one.
    """
    fields = dict(_only(given, _FAULT_FIELDS, "a fault"))
    if "do" not in fields:
        raise ValueError('a fault needs "do"')
    encoded = fields.pop("payload_base64", None)
    if encoded is not None:
        try:
            fields["payload"] = base64.b64decode(encoded, validate=True)
        except (TypeError, binascii.Error):
            raise ValueError("payload_base64 is not base64") from None
    return Fault(**fields)


def queue_faults(given: Any, plan: FaultPlan) -> None:
    """Queue faults given as JSON.

    The value is a list of entries, or one of them: a fault (``{"do": …}``), a script
    (``{"faults": […], "times": …, "deployment": …, "transport": …}``), or
    ``{"random": {"choices": […], "rate": …, "seed": …, "spread": …}}``.

    Raises:
        ValueError: It isn't that; then nothing is queued.
    """
    entries = given if isinstance(given, list) else [given]
    queued: list[Callable[[], None]] = []
    for entry in entries:
        if isinstance(entry, dict) and "random" in entry:
            queued.append(_random(entry, plan))
        elif isinstance(entry, dict) and "faults" in entry:
            options = dict(_only(entry, _ENTRY_FIELDS, "an entry"))
            faults = [parse_fault(fault) for fault in options.pop("faults")]
            queued.append(functools.partial(plan.add, *faults, **options))
        else:
            fault = parse_fault(entry)
            queued.append(functools.partial(plan.add, fault))
    for add in queued:
        add()


def _random(entry: dict[str, Any], plan: FaultPlan) -> Callable[[], None]:
    options = dict(_only(_only(entry, {"random"}, "an entry")["random"], _RANDOM_FIELDS, "random"))
    for key in ("choices", "rate", "seed"):
        if key not in options:
            raise ValueError(f'random needs "{key}"')
    choices = [parse_fault(fault) for fault in options.pop("choices")]
    # Checked on a plan of its own, so that a mistake queues nothing.
    FaultPlan().at_random(choices, **options)
    return lambda: plan.at_random(choices, **options)


def load_fault_file(path: Path, plan: FaultPlan) -> None:
    """Queue the faults of a JSON file; see `queue_faults`.

    Raises:
        OSError: The file can't be read.
        ValueError: It doesn't hold faults.
    """
    try:
        queue_faults(json.loads(path.read_text(encoding="utf-8")), plan)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: {error}") from None


def _summary(session: SessionRecord) -> dict[str, Any]:
    fields = {
        name: getattr(session, name)
        for name in (
            "number",
            "transport",
            "deployment",
            "route",
            "method",
            "status",
            "authorized",
            "closed",
            "closed_by",
            "close_code",
            "close_reason",
            "faults",
        )
    }
    return {**fields, **session.passed}


class Control:
    """Serves ``/sandbox/…``; the key is needed there too.

    Args:
        faults: The faults to come.
        journal: The sessions.
        strike: Injects a fault into the open WebSockets of a deployment, or of all.
        find: Finds a deployment by id.
        deploy: Puts a deployment in the place of another.
    """

    def __init__(
        self,
        *,
        faults: FaultPlan,
        journal: Journal,
        strike: Callable[[Fault, str | None], Awaitable[int]],
        find: Callable[[str], Deployment],
        deploy: Callable[[Deployment], None],
    ) -> None:
        self._faults = faults
        self._journal = journal
        self._strike = strike
        self._find = find
        self._deploy = deploy

    async def __call__(self, request: web.Request) -> web.Response:
        """Answer one request."""
        route = (request.method, request.path.removeprefix("/sandbox/"))
        try:
            body = json.loads(await request.text()) if request.can_read_body else None
            if route == ("POST", "faults"):
                queue_faults(body, self._faults)
            elif route == ("DELETE", "faults"):
                self._faults.clear()
            elif route == ("POST", "strike"):
                options = _only(body, {"fault", "deployment"}, "strike")
                struck = await self._strike(
                    parse_fault(options.get("fault")), options.get("deployment")
                )
                return web.json_response({"struck": struck})
            elif route == ("POST", "deployment"):
                options = dict(
                    _only(body, {"id", "state", "cold_start"}, "a change of a deployment")
                )
                self._deploy(dataclasses.replace(self._find(str(options.pop("id", ""))), **options))
            elif route == ("GET", "sessions"):
                return web.json_response([_summary(s) for s in self._journal.sessions])
            elif route != ("GET", "faults"):
                return web.json_response({"error": "Not found."}, status=404)
        except (ValueError, TypeError) as error:
            return web.json_response({"error": str(error)}, status=400)
        return web.json_response({"pending": self._faults.pending})
