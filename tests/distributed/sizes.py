#!/usr/bin/env python3
"""What a session costs in PostgreSQL: bytes of tables and indexes, and of the log for each operation.

  tests/distributed/sizes.py                   narrow sessions
  tests/distributed/sizes.py --data 4000       with so many bytes of `data`
  tests/distributed/sizes.py --claims 500      with so many bytes of claims, which are in the record

The figures are those of docs/scale.md.
"""

import argparse
import asyncio
import json
import tempfile
import time
from pathlib import Path

from database import until
from load import JSON, form
from programs import ROOT, Place, Program, free_port, postgres_programs
from replicas import Replicas

AT_ONCE = 64


class Alone:
    """One PostgreSQL with Debian's settings."""

    def __init__(self, place):
        self.place, self.directory, self.port = place, place.directory("alone"), free_port()
        self.programs = postgres_programs()
        data = self.directory / "data"
        place.run(
            self.programs / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale"
        )
        command = [self.programs / "postgres", "-D", data, "-p", self.port, "-k", self.directory]
        self.server = Program(place, "alone", command, self.directory)

    def sql(self, text, database="keyfob"):
        """Runs SQL; answers the first column of the first row."""
        command = [
            self.programs / "psql",
            "-XAtq",
            "-h",
            self.directory,
            "-p",
            str(self.port),
            "-U",
            "postgres",
        ]
        return self.place.run(*command, "-d", database, "-c", text).partition("\n")[0]

    async def start(self):
        """Starts it, with the database of keyfob."""
        self.server.start()

        async def answers():
            try:
                return self.sql("SELECT 1", "postgres")
            except RuntimeError:
                return None

        await until(answers, "PostgreSQL is not ready")
        self.sql("CREATE ROLE keyfob LOGIN", "postgres")
        self.sql("CREATE DATABASE keyfob OWNER keyfob", "postgres")

    def log_bytes(self):
        """How far the log is."""
        return int(self.sql("SELECT pg_current_wal_insert_lsn() - '0/0'"))


class Sizes:
    """The measurement."""

    def __init__(self, arguments, place):
        self.arguments, self.postgres = arguments, Alone(place)
        url = f"postgres://keyfob@127.0.0.1:{self.postgres.port}/keyfob"
        self.replicas = Replicas(place, [(url, {})], [0.0], False)
        self.tokens = []

    async def perform(self):
        """Opens, rotates twice and ends; prints what each step cost."""
        try:
            await self.postgres.start()
            await self.replicas.start()
            await self.measure("an opening", self.open, range(self.arguments.sessions))
            self.print_tables()
            self.postgres.sql("CHECKPOINT")
            await self.measure(
                "a rotation, the first after a checkpoint", self.rotate, list(enumerate(self.tokens))
            )
            await self.measure("a rotation, later", self.rotate, list(enumerate(self.tokens)))
            self.print_tables()
            await self.measure("a revocation", self.revoke, list(self.tokens))
        finally:
            self.replicas.stop()
            self.postgres.server.kill()

    async def measure(self, name, operation, items):
        """Runs an operation for each item, and prints the bytes of the log and the rate."""
        queue = iter(items)
        before, started = self.postgres.log_bytes(), time.monotonic()

        async def work():
            for item in queue:
                await operation(item)

        await asyncio.gather(*(work() for _ in range(AT_ONCE)))
        seconds, written = time.monotonic() - started, self.postgres.log_bytes() - before
        print(f"{name:42} {written / len(items):8.0f} bytes of log, {len(items) / seconds:6.0f} per second")

    async def call(self, request):
        """A request that must be answered with success."""
        method, path, body, headers = request
        headers = {**headers, **self.replicas.authorization}
        response = await self.replicas.all[0].peer.send(method, path, body, headers)
        assert response.status in {200, 201}, (response.status, response.body)
        return response.json()

    async def open(self, number):
        """An opening, as a browser's would be."""
        agent = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
        body = {
            "subject": f"subject-{number}",
            "amr": ["pwd"],
            "device": {"user_agent": agent, "ip": "192.0.2.1"},
        }
        if self.arguments.claims:
            body["claims"] = {"text": "x" * self.arguments.claims}
        if self.arguments.data:
            body["data"] = {"text": "x" * self.arguments.data}
        opened = await self.call(("POST", "/v1/sessions", json.dumps(body).encode(), JSON))
        self.tokens.append(opened["refresh_token"])

    async def rotate(self, item):
        """A rotation."""
        number, token = item
        request = form("/oauth2/token", grant_type="refresh_token", refresh_token=token)
        self.tokens[number] = (await self.call(request))["refresh_token"]

    async def revoke(self, token):
        """The end of a session."""
        method, path, body, headers = form("/oauth2/revoke", token=token)
        await self.replicas.all[0].peer.send(method, path, body, {**headers, **self.replicas.authorization})

    def print_tables(self):
        """The bytes of each table for a session."""
        for table in ["sessions", "windows_due", "events", "data"]:
            sizes = self.postgres.sql(
                f"SELECT pg_table_size('keyfob.{table}') || ' ' || pg_indexes_size('keyfob.{table}')"
            )
            rows, indexes = (int(size) / self.arguments.sessions for size in sizes.split())
            print(f"    {table:12} {rows:6.0f} bytes for a session, its indexes {indexes:4.0f}")


def main():
    """Parses the arguments and measures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--binary", type=Path, default=ROOT / "target" / "release" / "keyfob")
    parser.add_argument("--sessions", type=int, default=20000)
    parser.add_argument("--data", type=int, default=0)
    parser.add_argument("--claims", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="keyfob-sizes-", dir="/tmp") as path:
        asyncio.run(Sizes(arguments, Place(path, arguments.binary)).perform())


if __name__ == "__main__":
    main()
