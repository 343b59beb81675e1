"""The three replicas of keyfob."""

import asyncio
import hashlib
import secrets
import shutil
import signal

from connection import NotSentError, Peer, basic
from database import until
from programs import Program, free_port, with_clock

CLIENT = "ledger"
# By how many seconds the clocks of the replicas are wrong. They may differ by two.
CLOCKS = [0.9, -0.9, 0.0]
CONFIGURATION = """
[server]
listen = "127.0.0.1:{port}"
issuer = "http://127.0.0.1:{issuer_port}"
console = false
[store]
url = "{url}"
replica = "{name}"
require_synchronous = {require_synchronous}
[log]
level = "warn"
[policy.default]
access_token_ttl = "2h"
[[client]]
client_id = "{client}"
secret_sha256 = "{digest}"
permissions = ["sessions", "introspect", "events"]
grants = ["refresh_token"]
scopes = ["read"]
"""


class Replica:
    """A keyfob with a directory and a clock of its own, and its links to the database."""

    def __init__(self, place, name, settings, links, clock):
        self.name, self.peer, self.links, self.clock = name, Peer(settings["port"]), links, clock
        self.directory = place.directory(name)
        config = self.directory / "config.toml"
        config.write_text(CONFIGURATION.format(name=name, **settings))
        place.give(config)
        self.program = Program(place, name, [place.binary, "serve"], self.directory, with_clock(clock))

    async def is_ready(self):
        """Whether it would acknowledge a write now."""
        try:
            return (await self.peer.send("GET", "/readyz", patience=3)).status == 200
        except (NotSentError, ConnectionError):
            return False

    async def stop(self):
        """A clean stop."""
        self.program.signal(signal.SIGTERM)
        await asyncio.to_thread(self.program.process.wait, 60)


class Replicas:
    """All of them, one for each address, with the credentials of the client that the load is."""

    def __init__(self, place, addresses, clocks, require_synchronous):
        secret = "kfc_" + secrets.token_urlsafe(32)
        self.place, self.authorization = place, basic(CLIENT, secret)
        ports = [free_port() for _ in addresses]
        settings = {
            "issuer_port": ports[0],
            "require_synchronous": "true" if require_synchronous else "false",
            "client": CLIENT,
            "digest": hashlib.sha256(secret.encode()).hexdigest(),
        }
        self.all = []
        for number, (port, (url, links), clock) in enumerate(zip(ports, addresses, clocks, strict=True), 1):
            own = {**settings, "port": port, "url": url}
            self.all.append(Replica(place, f"k{number}", own, links, clock))

    async def start(self):
        """The first one creates the schema and the master key, which the others get."""
        first, *others = self.all
        await asyncio.to_thread(self.place.run, self.place.binary, "init", cwd=first.directory)
        for other in others:
            data = other.directory / "data"
            data.mkdir(mode=0o700)
            self.place.give(data)
            for name in ["master.key", "admin.json"]:
                shutil.copy(first.directory / "data" / name, data / name)
                self.place.give(data / name)
        for replica in self.all:
            replica.program.start()
            await until(replica.is_ready, f"{replica.name} is not ready")

    async def are_ready(self):
        """Whether each of them would acknowledge a write now."""
        return all(await asyncio.gather(*(replica.is_ready() for replica in self.all)))

    def stop(self):
        """Ends every process."""
        for replica in self.all:
            replica.program.thaw()
            replica.program.kill()
