"""HTTP/1.1 over connections of our own: the clients of libraries would repeat requests by themselves."""

import asyncio
import base64
import json
from dataclasses import dataclass

PATIENCE_S = 12


class NotSentError(Exception):
    """No byte of the request was sent, so it did not happen."""


@dataclass
class Response:
    """A whole answer. Anything less is an error."""

    status: int
    body: bytes

    def json(self):
        """The parsed body; None without one."""
        return json.loads(self.body) if self.body else None


class Peer:
    """A server, with the connections to it that are free."""

    def __init__(self, port):
        self.port = port
        self.free = []

    async def send(self, method, path, body=b"", headers=None, patience=PATIENCE_S):
        """One exchange. An error other than NotSentError leaves its outcome unknown."""
        try:
            async with asyncio.timeout(patience):
                reader, writer = await self._connection()
                try:
                    response, is_kept = await _exchange(reader, writer, method, path, body, headers or {})
                except BaseException:
                    writer.close()
                    raise
        except (OSError, EOFError, TimeoutError, ValueError) as failure:
            raise ConnectionError(str(failure) or type(failure).__name__) from failure
        if is_kept:
            self.free.append((reader, writer))
        else:
            writer.close()
        return response

    async def _connection(self):
        while self.free:
            reader, writer = self.free.pop()
            if not reader.at_eof():
                return reader, writer
            writer.close()
        try:
            return await asyncio.open_connection("127.0.0.1", self.port)
        except OSError as failure:
            raise NotSentError(str(failure)) from failure


async def _exchange(reader, writer, method, path, body, headers):
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
    head = await reader.readuntil(b"\r\n\r\n")
    first, *fields = head.decode("latin-1").split("\r\n")
    split = (field.partition(":") for field in fields)
    named = {name.lower(): value.strip() for name, _, value in split}
    status = int(first.split()[1])
    if "content-length" in named:
        content = await reader.readexactly(int(named["content-length"]))
    elif named.get("transfer-encoding") == "chunked":
        content = await _chunks(reader)
    elif status == 204:
        content = b""
    else:
        content = await reader.read()
        return Response(status, content), False
    is_kept = first.startswith("HTTP/1.1") and named.get("connection", "").lower() != "close"
    return Response(status, content), is_kept


async def _chunks(reader):
    content = b""
    while True:
        size = int((await reader.readline()).split(b";")[0], 16)
        content += await reader.readexactly(size)
        await reader.readexactly(2)
        if size == 0:
            return content


def basic(client, secret):
    """The header of a client's credentials."""
    return {"Authorization": "Basic " + base64.b64encode(f"{client}:{secret}".encode()).decode()}
