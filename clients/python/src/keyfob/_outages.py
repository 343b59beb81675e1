"""An ASGI middleware for servers whose authentication runs outside of their exception handlers."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from ._errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    ASGIApp = Callable[[Message, Receive, Send], Awaitable[None]]

LOG = logging.getLogger("keyfob")


class AnswerOutages:
    """Answers 503 with `Retry-After` where `Unavailable` was raised: no client drops a valid token."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        started = False

        async def watch(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, watch)
        except Unavailable as error:
            if started or scope["type"] != "http":
                raise
            LOG.warning("keyfob is unavailable, answered 503: %s", error)
            body = b'{"error":"temporarily_unavailable","error_description":"try again later"}'
            headers = [
                (b"content-type", b"application/json"),
                (b"content-length", b"%d" % len(body)),
                (b"retry-after", b"%d" % error.retry_after),
            ]
            await send({"type": "http.response.start", "status": 503, "headers": headers})
            await send({"type": "http.response.body", "body": body})
