"""A source of access tokens that renews them ahead of time."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ._models import Tokens

RENEW_AT = 0.8  # of the life of a token


class TokenSource:
    """Call it to get a valid access token: `await source()`.

    From 80 % of a token's life on the next one is requested in the background; a caller waits only if
    there is no valid token. Concurrent callers share one request.

    Raises `Unavailable`, `Misconfigured`, and `Refused` for a scope or an audience that is not the client's.
    """

    def __init__(self, issue: Callable[[], Awaitable[Tokens]]) -> None:
        self._issue = issue
        self._token = ""
        self._renew_at = self._expires_at = float("-inf")
        self._renewal: asyncio.Task[None] | None = None

    async def __call__(self) -> str:
        """A valid access token."""
        now = time.monotonic()
        if now >= self._renew_at:
            renewal = self._renewal
            if renewal is None or renewal.done() or renewal.get_loop() is not asyncio.get_running_loop():
                renewal = self._renewal = asyncio.get_running_loop().create_task(self._renew())
                renewal.add_done_callback(_retrieve)
            if now >= self._expires_at:
                await asyncio.shield(renewal)
        return self._token

    async def _renew(self) -> None:
        begun = time.monotonic()
        tokens = await self._issue()
        self._token = tokens.access_token
        self._renew_at = begun + RENEW_AT * tokens.expires_in
        self._expires_at = begun + tokens.expires_in - min(5.0, 0.1 * tokens.expires_in)


def _retrieve(renewal: asyncio.Task[None]) -> None:
    """An error is raised to the callers that wait; the others still have a valid token."""
    if not renewal.cancelled():
        renewal.exception()
