"""The bytes of a request, and what the status of an answer means."""

from __future__ import annotations

import json
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote, urlencode

from ._errors import Conflict, Misconfigured, Problem, Refused, Unavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ._http import Answer
    from ._models import Json

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
_JSON = json.JSONDecoder()  # json.loads calls it by way of three functions


def path(*segments: str) -> str:
    """A path of segments, each encoded."""
    return "".join(f"/{quote(segment, safe='')}" for segment in segments)


def with_query(target: str, parameters: Mapping[str, str | int | None]) -> str:
    """The target with the parameters that have a value."""
    given = {name: value for name, value in parameters.items() if value is not None}
    return f"{target}?{urlencode(given)}" if given else target


def present(**members: Any) -> Json:
    """The members that have a value."""
    return {name: value for name, value in members.items() if value is not None}


def head(method: str, target: str, headers: Mapping[str, str | None]) -> bytes:
    """The head of a request without its end: `with_body` adds that.

    A header without a value is left out; one with a line break is a `ValueError`.
    """
    given = [f"{name}: {value}\r\n" for name, value in headers.items() if value is not None]
    text = f"{method} {target} HTTP/1.1\r\n{''.join(given)}"
    if text.count("\n") != len(given) + 1:
        raise ValueError("a header must not contain a line break")
    return text.encode("latin-1")


def with_body(head: bytes, body: bytes | None) -> bytes:
    """A complete request."""
    return b"%b\r\n" % head if body is None else b"%bContent-Length: %d\r\n\r\n%b" % (head, len(body), body)


def read(answer: Answer) -> Json:
    """The object of a successful answer; else the error that fits the status."""
    if not 200 <= answer.status < 300:
        raise refusal(answer)
    return _object(answer) if answer.body else {}


def is_active(value: Json) -> bool:
    """Whether an answer says that a token is valid; one that says neither is `Unavailable`, not invalid."""
    active = value.get("active")
    if not isinstance(active, bool):
        raise Unavailable("an answer about a token is not keyfob's: it has no member active")
    return active


def refusal(answer: Answer) -> Unavailable | Misconfigured | Refused:
    """The error that an answer stands for."""
    status = answer.status
    if status < 400 or status >= 500 or status in (408, 429):
        after = answer.header(b"retry-after")
        return Unavailable(f"keyfob answered {status}", retry_after=int(after) if after.isdigit() else 1)
    try:
        members = _object(answer)
    except Unavailable as error:  # from something before keyfob
        return error
    detail = str(members.get("detail") or members.get("error_description") or f"status {status}")
    code, field = members.get("error"), members.get("field")
    if status in (401, 403) or code in ("invalid_client", "unauthorized_client"):
        return Misconfigured(f"keyfob refuses this client: {detail}")
    problem = Problem(status, detail, code, field, members)
    return Conflict(problem) if status in (409, 412) else Refused(problem)


def date(answer: Answer) -> float:
    """The server's time of the answer, in seconds since 1970; 0 where it says none."""
    return _date(answer.header(b"date"))


@lru_cache(maxsize=4)
def _date(value: bytes) -> float:
    try:
        return parsedate_to_datetime(value.decode("latin-1")).timestamp()
    except (TypeError, ValueError):
        return 0.0


def _object(answer: Answer) -> Json:
    try:
        text = answer.body.decode().strip()
        value, end = _JSON.raw_decode(text)
    except ValueError:
        value, text, end = None, "", 0
    if not isinstance(value, dict) or end != len(text):
        raise Unavailable(f"an answer of status {answer.status} is not keyfob's: it is no JSON object")
    return cast("Json", value)
