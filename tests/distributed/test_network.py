"""A link passes bytes on, holds them while it is cut, and ends with its target."""

import asyncio
import contextlib
import unittest

from network import HOST, Network

HELD_S = 0.2


class LinkTest(unittest.IsolatedAsyncioTestCase):
    """Over a link to a server that answers what it was sent."""

    async def asyncSetUp(self):
        self.server = await asyncio.start_server(self.echo, HOST, 0)
        self.network = Network()
        self.link = self.network.link(self.server.sockets[0].getsockname()[1])
        await self.network.start()

    async def asyncTearDown(self):
        self.network.stop()
        self.server.close()

    async def echo(self, reader, writer):
        with contextlib.suppress(asyncio.CancelledError):
            while (data := await reader.read(1024)) not in {b"", b"end"}:
                writer.write(data)
        writer.close()

    async def connect(self):
        reader, writer = await asyncio.open_connection(HOST, self.link.port)
        self.addCleanup(writer.close)
        return reader, writer

    async def assert_silent(self, reading):
        done, _ = await asyncio.wait([reading], timeout=HELD_S)
        self.assertFalse(done)

    async def test_bytes_pass_in_both_directions(self):
        reader, writer = await self.connect()
        for size in [1, 1_000_000]:
            writer.write(b"x" * size)
            self.assertEqual(await reader.readexactly(size), b"x" * size)

    async def test_what_is_sent_over_a_link_that_is_cut_arrives_when_it_is_restored(self):
        reader, writer = await self.connect()
        writer.write(b"before")
        await reader.readexactly(6)
        self.link.cut()
        writer.write(b"while")
        reading = asyncio.create_task(reader.readexactly(5))
        await self.assert_silent(reading)
        self.network.restore()
        self.assertEqual(await reading, b"while")

    async def test_a_link_that_is_cut_accepts_connections_and_says_nothing(self):
        self.link.cut()
        reader, writer = await self.connect()
        writer.write(b"hello")
        reading = asyncio.create_task(reader.readexactly(5))
        await self.assert_silent(reading)
        self.network.restore()
        self.assertEqual(await reading, b"hello")

    async def test_the_end_of_a_connection_is_held_too(self):
        reader, writer = await self.connect()
        writer.write(b"end")
        self.link.cut()
        reading = asyncio.create_task(reader.read())
        await self.assert_silent(reading)
        self.network.restore()
        self.assertEqual(await reading, b"")

    async def test_a_target_that_does_not_listen_ends_the_connection(self):
        self.server.close()
        reader, _ = await self.connect()
        with self.assertRaises(ConnectionError):
            if not await reader.read():
                raise ConnectionError


if __name__ == "__main__":
    unittest.main()
