"""The ASGI middleware: cookies on every kind of answer, and WebSockets that end with their session."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from starlette.websockets import WebSocketDisconnect

if TYPE_CHECKING:
    from collections.abc import Awaitable, Coroutine, MutableMapping

    from starlette.requests import HTTPConnection
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

SCOPE = "keyfob"
SIGNED_OUT = 4401
TRY_AGAIN = 1013


class Outgoing:
    """The cookies of one request, by name, and whether it is too late for more."""

    __slots__ = ("cookies", "started")

    def __init__(self) -> None:
        self.cookies: dict[str, str] = {}
        self.started = False

    @classmethod
    def of(cls, request: HTTPConnection) -> Outgoing:
        """The one of a request; `RuntimeError` if there is none, or the answer has begun."""
        outgoing = request.scope.get(SCOPE)
        if not isinstance(outgoing, Outgoing):
            raise RuntimeError("the cookie cannot be set: call Keyfob.install(app) first")
        if outgoing.started:
            raise RuntimeError("the cookie cannot be set: the answer has begun")
        return outgoing

    def set_cookie(self, header: str) -> None:
        """Adds a `Set-Cookie` header, in place of an earlier one for the same cookie."""
        self.cookies[header.partition("=")[0]] = header

    def add_to(self, message: Message) -> Message:
        """The start of the answer, with the cookies, and no cache may keep it."""
        self.started = True
        if not self.cookies:
            return message
        headers = [pair for pair in message.get("headers", ()) if pair[0].lower() != b"cache-control"]
        headers.append((b"cache-control", b"no-store"))
        headers += [(b"set-cookie", cookie.encode("latin-1")) for cookie in self.cookies.values()]
        return {**message, "headers": headers}


class Socket:
    """One WebSocket: after `end` the application can neither receive nor send."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._accepted = False
        self._closed = False
        self._code: int | None = None
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._receiving: asyncio.Future[Message] | None = None
        self._guard: asyncio.Task[None] | None = None

    @classmethod
    def of(cls, websocket: HTTPConnection) -> Socket:
        """The one of a connection; `RuntimeError` if there is none."""
        socket = websocket.scope.get(SCOPE)
        if not isinstance(socket, Socket):
            raise RuntimeError("the WebSocket cannot be guarded: call Keyfob.install(app) first")
        return socket

    def guard(self, watching: Coroutine[Any, Any, None]) -> None:
        """Runs a task for as long as the connection."""
        previous, self._guard = self._guard, asyncio.get_running_loop().create_task(watching)
        if previous is not None:
            previous.cancel()

    async def end(self, code: int) -> None:
        """Closes the connection."""
        if self._code is None:
            self._code = code
            self._ended.set_result(None)
            await self._close({"type": "websocket.close", "code": code})

    async def receive(self) -> Message:
        """The next message; a disconnect after the end."""
        if self._guard is None and self._receiving is None:
            return await self._receive()
        if self._receiving is None:
            self._receiving = asyncio.create_task(_next(self._receive))
        await asyncio.wait((self._receiving, self._ended), return_when=asyncio.FIRST_COMPLETED)
        if self._code is not None:
            return {"type": "websocket.disconnect", "code": self._code}
        message, self._receiving = self._receiving.result(), None
        return message

    async def send(self, message: Message) -> None:
        """Sends a message; after the end it raises `WebSocketDisconnect`."""
        if self._code is not None:
            raise WebSocketDisconnect(self._code)
        if message["type"] == "websocket.close":
            await self._close(message)
            return
        self._accepted = self._accepted or message["type"] == "websocket.accept"
        await self._send(message)

    async def finish(self) -> None:
        """Ends what runs for the connection."""
        for task in (self._guard, self._receiving):
            if task is not None:
                task.cancel()

    async def _close(self, message: Message) -> None:
        """Closes; a refusal is accepted first, since a browser sees no code of a close before that."""
        if self._closed:
            return
        self._closed = True
        if not self._accepted and message.get("code") in (SIGNED_OUT, TRY_AGAIN):
            wanted = self._scope.get("subprotocols") or [None]
            await self._send({"type": "websocket.accept", "subprotocol": wanted[0]})
        await self._send(message)


async def _next(receive: Receive) -> Message:
    return await receive()


class KeyfobMiddleware:
    """Puts an `Outgoing` or a `Socket` into the scope of each connection."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if SCOPE in scope or scope["type"] not in ("http", "websocket"):
            return self._app(scope, receive, send)
        if scope["type"] == "websocket":
            return self._websocket(scope, receive, send)
        outgoing = scope[SCOPE] = Outgoing()

        # Only the closure holds `send`, which holds the scope: a cycle would wait for the garbage collector.
        def send_with_cookies(message: Message) -> Awaitable[None]:
            return send(outgoing.add_to(message) if message["type"] == "http.response.start" else message)

        return self._app(scope, receive, send_with_cookies)

    async def _websocket(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        socket = scope[SCOPE] = Socket(scope, receive, send)
        try:
            await self._app(scope, socket.receive, socket.send)
        finally:
            await socket.finish()
