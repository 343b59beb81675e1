"""HTTP/1.1 for one server: a pool of connections that belongs to one event loop."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from dataclasses import dataclass
from typing import NamedTuple, cast
from urllib.parse import urlsplit

import httptools

from ._errors import Misconfigured, Unavailable

HEAD_BYTES_MAX = 64 * 1024
BODY_BYTES_MAX = 16 * 1024 * 1024
IDLE_S = 60.0  # keyfob closes an idle connection after 75 seconds
TIMER_PRECISION_S = 0.001  # of uvloop
_NEVER = float("inf")


class Broken(Unavailable):
    """The connection closed, or carried something else than one answer."""


class Answer(NamedTuple):
    """A complete answer."""

    status: int
    head: bytes
    """The received bytes, from the status line on."""
    body: bytes

    def header(self, name: bytes) -> bytes:
        """The value of a header, whose name is given in lower case; empty without one."""
        head = self.head
        while head.startswith(b"HTTP/1.1 1"):  # an interim answer
            head = head.partition(b"\r\n\r\n")[2]
        head = head[: head.find(b"\r\n\r\n") + 2]
        start = head.lower().find(b"\r\n%b:" % name)
        return b"" if start < 0 else head[start + len(name) + 3 : head.index(b"\r\n", start + 2)].strip()


@dataclass(frozen=True)
class Origin:
    """Where the server listens."""

    host: str
    port: int
    tls: bool
    path: str | None = None
    """The path of a Unix socket, which takes the place of host and port."""

    @classmethod
    def parse(cls, url: str) -> Origin:
        """`http://host:port`, `https://host` or `unix:/path`; else `Misconfigured`."""
        wrong = Misconfigured(
            f"{url!r} is no URL of a keyfob; write http://host:port, https://host or unix:/path"
        )
        if url.startswith("unix:"):
            path = "/" + url.removeprefix("unix:").lstrip("/")
            return cls("localhost", 0, tls=False, path=path)
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise wrong from None
        if parts.scheme not in ("http", "https") or not parts.hostname or not url.isascii():
            raise wrong
        if (
            parts.path.strip("/")
            or parts.query
            or parts.fragment
            or "@" in parts.netloc
            or not url.isprintable()
        ):
            raise wrong
        tls = parts.scheme == "https"
        return cls(parts.hostname, port or (443 if tls else 80), tls)

    @property
    def authority(self) -> str:
        """The value of `Host`."""
        if self.path is not None:
            return self.host
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"


class Connection(asyncio.Protocol):
    """One connection, with at most one request at a time.

    It is reusable only after one complete answer with no byte left over. Every other case (a deadline, a
    cancellation, an answer that is not understood) closes it, so that no answer reaches another request.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        # Without on_header: a call for each header would cost more than all the rest.
        self._parser = httptools.HttpResponseParser(self)
        self._waiter: asyncio.Future[Answer] | None = None
        self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = _NEVER
        self._closed = False
        self.idle_since = 0.0
        self._reset()

    def _reset(self) -> None:
        self._head = b""
        self._body: list[bytes] = []
        self._received = 0
        self._status = 0
        self._complete = False
        self._keep_alive = False
        self._left_over = False

    @property
    def is_open(self) -> bool:
        """Whether a request can be sent."""
        return not self._closed and self._transport is not None and not self._transport.is_closing()

    def send(self, request: bytes, deadline: float) -> asyncio.Future[Answer]:
        """Sends the request; `finish` must follow, however the wait for the answer ends."""
        transport = self._transport
        if transport is None or self._closed or transport.is_closing():
            raise Broken("the connection is closed")
        self._reset()
        waiter = self._waiter = self._loop.create_future()
        self._deadline = deadline
        if deadline < self._timer_at:
            self._set_timer()
        transport.write(request)
        return waiter

    def finish(self) -> bool:
        """Ends the request; closes the connection and answers False unless the next request may use it."""
        self._waiter = None
        transport = self._transport
        if (
            self._complete
            and self._keep_alive
            and not self._left_over
            and not self._closed
            and transport is not None
            and transport.get_write_buffer_size() == 0
        ):
            return True
        self.close()
        return False

    def close(self) -> None:
        """Closes at once; nothing is sent any more."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            self._transport.abort()

    def _fail(self, error: Unavailable) -> None:
        self.close()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error)

    def _set_timer(self) -> None:
        """One timer serves many requests: it looks at the deadline of the present one."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = self._deadline
        self._timer = self._loop.call_at(self._deadline, self._look_at_deadline)

    def _look_at_deadline(self) -> None:
        self._timer, self._timer_at = None, _NEVER
        if self._waiter is None:
            return
        if self._loop.time() < self._deadline - TIMER_PRECISION_S:
            self._set_timer()
        else:
            self._fail(_too_late())

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport, unless the attempt to connect was given up."""
        self._transport = cast("asyncio.Transport", transport)
        if self._closed:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Feed the parser; the answer is delivered when all that came with it was looked at."""
        waiter = self._waiter
        if waiter is None or self._complete:
            self._left_over = True
            self.close()
            return
        self._received += len(data)
        if not self._status:
            self._head += data
        try:
            self._parser.feed_data(data)
            if self._received > (BODY_BYTES_MAX if self._status else HEAD_BYTES_MAX):
                self._left_over = True
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._left_over = True
        if self._complete:
            if not waiter.done():
                waiter.set_result(Answer(self._status, self._head, b"".join(self._body)))
        elif self._left_over:
            self._fail(Broken("the answer is too large, or not valid HTTP/1.1"))

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the request in progress."""
        self._fail(Broken(f"the connection closed{f': {exc}' if exc else ''}"))

    # httptools

    def on_message_begin(self) -> None:
        """Note a second answer, which no request waits for."""
        if self._complete:
            self._left_over = True

    def on_headers_complete(self) -> None:
        """Refuse an answer that ends with the connection: it cannot be distinguished from half of one."""
        if self._complete:
            raise ValueError("a second answer")
        status = self._status = self._parser.get_status_code()
        if not self._parser.should_keep_alive() and status >= 200 and status not in (204, 304):
            head = self._head.lower()
            if b"\r\ncontent-length:" not in head and b"\r\ntransfer-encoding:" not in head:
                raise ValueError("an answer without a length")

    def on_body(self, data: bytes) -> None:
        """Keep a part of the body."""
        self._body.append(data)

    def on_message_complete(self) -> None:
        """Note the end of the answer; an interim one (1xx) is followed by it."""
        if self._status < 200:
            self._status = 0
            return
        self._complete = True
        self._keep_alive = self._parser.should_keep_alive()


class Pool:
    """At most `limit` connections to one server, for one event loop."""

    def __init__(self, origin: Origin, limit: int, tls: ssl.SSLContext | None = None) -> None:
        self._origin = origin
        self._tls = (tls or ssl.create_default_context()) if origin.tls else None
        self._loop = asyncio.get_running_loop()
        self._free = limit
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._idle: list[Connection] = []
        self._closed = False

    async def request(self, request: bytes, timeout: float, *, retry: bool) -> Answer:
        """Sends a request and returns the answer; `timeout` seconds cover everything.

        With `retry` the request is sent a second time, over a new connection, if the first one broke.

        Raises `Unavailable`.
        """
        deadline = self._loop.time() + timeout
        if self._free:
            self._free -= 1
        else:
            await self._turn(deadline)
        try:
            connection = self._take() or await self._connect(deadline)
            while True:
                try:
                    return await connection.send(request, deadline)
                except Broken:
                    if not retry:
                        raise
                finally:
                    self._give_back(connection)
                connection, retry = await self._connect(deadline), False
        finally:
            self._release()

    def close(self) -> None:
        """Closes the idle connections; those in use are closed after their answer."""
        self._closed = True
        while self._idle:
            self._idle.pop().close()

    def _give_back(self, connection: Connection) -> None:
        if not connection.finish():
            return
        if self._closed:
            connection.close()
        else:
            connection.idle_since = self._loop.time()
            self._idle.append(connection)

    async def _turn(self, deadline: float) -> None:
        """Waits until a request in progress is done; in order of arrival."""
        waiter: asyncio.Future[None] = self._loop.create_future()
        timer = self._loop.call_at(deadline, _expire, waiter)
        self._waiters.append(waiter)
        try:
            await waiter
        except BaseException:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._release()
            raise
        finally:
            timer.cancel()

    def _release(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self._free += 1

    def _take(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open and self._loop.time() - connection.idle_since < IDLE_S:
                return connection
            connection.close()
        return None

    async def _connect(self, deadline: float) -> Connection:
        connection = Connection(self._loop)
        origin = self._origin
        opening = self._loop.create_task(
            self._loop.create_connection(lambda: connection, origin.host, origin.port, ssl=self._tls)
            if origin.path is None
            else self._loop.create_unix_connection(lambda: connection, origin.path)
        )
        opening.add_done_callback(_retrieve)
        try:
            # Not wait_for: before Python 3.12 it loses a cancellation that comes with the result.
            await asyncio.wait((opening,), timeout=deadline - self._loop.time())
            if not opening.done():
                raise _too_late()
            opening.result()
        except OSError as error:
            connection.close()
            where = origin.path or origin.authority
            raise Unavailable(f"cannot connect to keyfob at {where}: {error}") from error
        except BaseException:
            opening.cancel()
            connection.close()
            raise
        return connection


def _retrieve(opening: asyncio.Task[object]) -> None:
    """Its error is raised to the request; if that was cancelled, no one asks for it."""
    if not opening.cancelled():
        opening.exception()


def _too_late() -> Unavailable:
    return Unavailable("keyfob did not answer in time")


def _expire(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_exception(_too_late())
