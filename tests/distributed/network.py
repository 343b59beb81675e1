"""The network between the programs: TCP proxies, which can be cut.

A link that is cut resets and refuses nothing. What is sent is held, as by a network that loses every packet
while both ends go on to send: connections open and stay silent. When it is restored, what was held arrives.
"""

import asyncio

from programs import free_port

HOST = "127.0.0.1"


class Network:
    """All links."""

    def __init__(self):
        self.links = []

    def link(self, target):
        """A new link to a port."""
        self.links.append(Link(target))
        return self.links[-1]

    async def start(self):
        """Accepts connections from now on."""
        for link in self.links:
            await link.start()

    def restore(self):
        """Restores every link."""
        for link in self.links:
            link.restore()

    def stop(self):
        """Ends every connection, and accepts no more."""
        for link in self.links:
            link.stop()


class Link:
    """The way from one program to a port of another one."""

    def __init__(self, target):
        self.port, self.target = free_port(), target
        self.is_cut, self.ends, self.server = False, set(), None
        # A task that is not referred to can be collected before it ends.
        self.connecting = set()

    async def start(self):
        """Accepts connections from now on."""
        loop = asyncio.get_running_loop()
        self.server = await loop.create_server(lambda: End(self), HOST, self.port)

    def cut(self):
        """Holds what is sent, also the end of a connection."""
        self.is_cut = True
        self._regulate()

    def restore(self):
        """Lets everything go on."""
        self.is_cut = False
        self._regulate()

    def stop(self):
        """Ends every connection, and accepts no more."""
        if self.server:
            self.server.close()
        for end in list(self.ends):
            end.transport.abort()

    def connect(self, near):
        """Makes the second half of a connection."""
        task = asyncio.get_running_loop().create_task(self._connect(near))
        self.connecting.add(task)
        task.add_done_callback(self.connecting.discard)

    async def _connect(self, near):
        try:
            loop = asyncio.get_running_loop()
            _, far = await loop.create_connection(lambda: End(self, near), HOST, self.target)
        except OSError:
            near.transport.abort()
            return
        if near.transport.is_closing():
            far.transport.abort()
        near.other = far
        near.regulate()

    def _regulate(self):
        for end in list(self.ends):
            end.regulate()


class End(asyncio.Protocol):
    """One half of a connection. What it receives goes to the other half."""

    def __init__(self, link, other=None):
        self.link, self.other, self.transport = link, other, None
        self.is_full, self.is_connecting = False, other is not None

    def connection_made(self, transport):
        """The first half looks for the second one."""
        self.transport = transport
        self.link.ends.add(self)
        # The transport starts to read after this call, whatever is said before.
        asyncio.get_running_loop().call_soon(self.regulate)

    def regulate(self):
        """Reads, unless the link is cut or the other half cannot take more."""
        if not self.link.is_cut and not self.is_connecting:
            self.is_connecting = True
            self.link.connect(self)
        if self.link.is_cut or self.other is None or self.other.is_full:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    def data_received(self, data):
        """Passes it on."""
        self.other.transport.write(data)

    def pause_writing(self):
        """The receiver is slow."""
        self.is_full = True
        self._regulate_other()

    def resume_writing(self):
        """The receiver has caught up."""
        self.is_full = False
        self._regulate_other()

    def connection_lost(self, failure):
        """Ends the other half in the same way."""
        self.link.ends.discard(self)
        if self.other is None:
            return
        if failure:
            self.other.transport.abort()
        else:
            self.other.transport.close()

    def _regulate_other(self):
        if self.other is not None:
            self.other.regulate()
