"""The errors of the package: an outage, a wrong set-up, a refusal and a conflict are four things."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


class KeyfobError(Exception):
    """Base of all errors of this package."""


class Unavailable(KeyfobError):
    """keyfob could not answer, or not in time: nothing is known of the token. Answer 503, never 401."""

    def __init__(self, message: str, *, retry_after: int = 1) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        """Seconds to wait before the next attempt."""


class Misconfigured(KeyfobError):
    """The URL, the credentials or the permissions of this client are wrong; an operator has to fix it."""


@dataclasses.dataclass(frozen=True)
class Problem:
    """What keyfob answered to a request that it refused (RFC 9457, RFC 6749 §5.2)."""

    status: int
    """The HTTP status."""
    detail: str
    """What is wrong and what would be right, for a person."""
    code: str | None = None
    """The code, such as `invalid_scope`, where there is one."""
    field: str | None = None
    """The field of the request that it is about."""
    members: Mapping[str, Any] = dataclasses.field(default_factory=dict[str, Any], repr=False)
    """All members of the answer."""


class Refused(KeyfobError):
    """keyfob refused the request: it is not valid, or there is no such thing."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(f"{problem.status}: {problem.detail}")
        self.problem = problem


class Conflict(Refused):
    """The session has another version, or what was to be created exists: read again, and decide again."""
