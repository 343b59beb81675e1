"""Servers that speak bytes: for answers that no server should give, and a proxy that answers in chunks."""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class RawServer:
    """Counts its connections and requests."""

    def __init__(self) -> None:
        self.url = ""
        self.connections = 0
        self.requests: list[bytes] = []


async def read_request(reader: asyncio.StreamReader) -> bytes:
    """One request, or an IncompleteReadError when the client closed."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            length = int(line.split(b":")[1])
    return head + await reader.readexactly(length)


@asynccontextmanager
async def listening(
    handler: Handler, path: Path | None = None, tls: ssl.SSLContext | None = None
) -> AsyncGenerator[RawServer, None]:
    raw = RawServer()
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raw.connections += 1
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await handler(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        except RuntimeError:
            assert writer.is_closing()  # how uvloop says ConnectionError
        finally:
            tasks.discard(task)
            writer.close()

    if path is None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
        raw.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    else:
        server = await asyncio.start_unix_server(serve, path)
    try:
        yield raw
    finally:
        server.close()
        for task in tuple(tasks):
            task.cancel()
        await asyncio.sleep(0.01)


@asynccontextmanager
async def answering(
    *answers: bytes | None, path: Path | None = None, tls: ssl.SSLContext | None = None
) -> AsyncGenerator[RawServer, None]:
    """Answers each request, on any connection, with the next bytes, and closes for `None`."""
    left = list(answers)
    raw: RawServer

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            raw.requests.append(await read_request(reader))
            answer = left.pop(0) if left else None
            if answer is None:
                return
            writer.write(answer)
            await writer.drain()

    async with listening(handler, path, tls) as raw:
        yield raw


@asynccontextmanager
async def chunking_proxy(target: str) -> AsyncGenerator[RawServer, None]:
    """Forwards to `target`, and answers in chunks of random sizes, slowly at times."""
    host, port = target.removeprefix("http://").split(":")
    chance = random.Random(1)

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection(host, int(port))
        try:
            while True:
                up_writer.write(await read_request(reader))
                answer = await read_request(up_reader)
                head, _, body = answer.partition(b"\r\n\r\n")
                lines = [
                    line for line in head.split(b"\r\n") if not line.lower().startswith(b"content-length")
                ]
                writer.write(b"\r\n".join([*lines, b"transfer-encoding: chunked", b"\r\n"]))
                while body:
                    size = chance.randint(1, 400)
                    writer.write(b"%x\r\n%b\r\n" % (len(body[:size]), body[:size]))
                    body = body[size:]
                    if chance.random() < 0.2:
                        await asyncio.sleep(0)
                writer.write(b"0\r\n\r\n")
                await writer.drain()
        finally:
            up_writer.close()

    async with listening(handler) as raw:
        yield raw


@asynccontextmanager
async def gate(target: str, path: bytes, is_open: Callable[[], bool]) -> AsyncGenerator[RawServer, None]:
    """Forwards to `target`; while the gate is closed, no request for `path` is answered."""
    host, port = target.removeprefix("http://").split(":")

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection(host, int(port))
        try:
            while True:
                request = await read_request(reader)
                up_writer.write(request)
                answer = await read_request(up_reader)
                if path in request and not is_open():
                    return
                writer.write(answer)
        finally:
            up_writer.close()

    async with listening(handler) as raw:
        yield raw
