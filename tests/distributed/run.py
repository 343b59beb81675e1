#!/usr/bin/env python3
"""Three keyfob over three PostgreSQL under Patroni, a load, faults, and a checker of all answers.

  tests/distributed/run.py                        every kind of fault once, in random order
  tests/distributed/run.py --rounds 3             three times
  tests/distributed/run.py --kinds machine-killed,postgres-killed --rounds 5
  tests/distributed/run.py --plant asynchronous   a control, which must be found

Needs the Debian packages postgresql, etcd-server, faketime and python3-venv, and the release build.
"""

import argparse
import asyncio
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

from checker import WRITES, Checker
from database import Database
from follower import Follower
from ledger import Ledger
from load import Load
from nemesis import KINDS, Nemesis
from network import Network
from plants import BROKEN, CLUSTERS, LIES, PROGRAMS, Plant
from programs import ROOT, Place
from replicas import CLOCKS, Replicas

SETTLE_S = 4


def main():
    """Parses the arguments and runs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--binary", type=Path, default=ROOT / "target" / "release" / "keyfob")
    parser.add_argument("--rounds", type=int, default=1, help="how often each kind comes")
    parser.add_argument("--kinds", default=",".join(KINDS), help=f"of {', '.join(KINDS)}")
    parser.add_argument("--plant", choices=[*CLUSTERS, *PROGRAMS, *LIES])
    parser.add_argument(
        "--seed", type=int, default=int(time.time()), help="of the order of faults and operations"
    )
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument(
        "--pause", type=float, default=0.05, help="between two operations of a client, in seconds"
    )
    parser.add_argument(
        "--keep",
        type=Path,
        help="where ledger and logs go if the run fails",
        default=ROOT / "target" / "distributed",
    )
    parser.add_argument("--always-keep", action="store_true", help="also if the run finds nothing")
    arguments = parser.parse_args()
    kinds = arguments.kinds.split(",")
    if unknown := set(kinds) - set(KINDS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory(prefix="keyfob-distributed-", dir="/tmp") as path:
        try:
            is_right = asyncio.run(Run(arguments, kinds, Place(path, arguments.binary)).perform())
        except BaseException:
            keep(Path(path), arguments.keep)
            raise
        if arguments.always_keep or not is_right:
            keep(Path(path), arguments.keep)
    sys.exit(not is_right)


def keep(place, to):
    """Copies the ledger and the logs."""
    to.mkdir(parents=True, exist_ok=True)
    for file in [*place.glob("*.log"), *place.glob("*.jsonl")]:
        (to / file.name).write_bytes(file.read_bytes())
    print(f"the ledger and the logs are in {to}", flush=True)


class Run:
    """One cluster from its beginning to its end."""

    def __init__(self, arguments, kinds, place):
        self.arguments, self.place, self.random = arguments, place, random.Random(arguments.seed)
        self.faults = [
            kind for _ in range(arguments.rounds) for kind in self.random.sample(kinds, len(kinds))
        ]
        plant, is_asynchronous = arguments.plant, arguments.plant == "asynchronous"
        options = {"synchronous_mode": False, "synchronous_mode_strict": False} if is_asynchronous else {}
        if is_asynchronous:
            self.faults = ["senders-frozen-then-killed"]
        elif plant:
            self.faults = PROGRAMS.get(plant, [])
        self.network = Network()
        self.database = Database(place, self.network, options)
        addresses = [self.database.address() for _ in CLOCKS]
        self.replicas = Replicas(place, addresses, CLOCKS, not is_asynchronous)
        self.ledger = Ledger(place.path / "ledger.jsonl", Plant(plant) if plant in LIES else None)
        self.load = Load(self.replicas, self.ledger, arguments.clients, arguments.pause, arguments.seed)
        self.follower = Follower(self.replicas, self.ledger)
        self.nemesis = Nemesis(self.database, self.replicas, self.ledger, self.random)

    async def perform(self):
        """Runs all of it; answers whether the outcome is the one that is wanted."""
        print(f"seed {self.arguments.seed}", flush=True)
        started = time.monotonic()
        try:
            await self.network.start()
            await self.database.start()
            await self.replicas.start()
            print(f"three replicas serve after {time.monotonic() - started:.0f} s", flush=True)
            await self.follower.begin()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self.load.run())
                tasks.create_task(self.follower.run())
                await asyncio.sleep(SETTLE_S)
                for kind in self.faults:
                    fault = await self.nemesis.strike(kind)
                    await asyncio.sleep(SETTLE_S)
                    self.print_fault(fault)
                if not self.faults:
                    await asyncio.sleep(3 * SETTLE_S)
                self.load.is_over = True
                await asyncio.sleep(1)
                self.follower.is_over = True
            await self.audit()
            await self.follower.read_again()
        finally:
            self.replicas.stop()
            self.database.stop()
            self.network.stop()
        return self.report(time.monotonic() - started)

    async def audit(self):
        """Asks for every session, when all is well."""
        await self.nemesis.repair()
        last = {}
        for call in self.ledger.calls:
            if call.operation == "open" and call.status == 201:
                last.setdefault(call.answer["session"], {"session": call.answer["session_token"]})
                last[call.answer["session"]] |= {
                    "refresh": call.answer["refresh_token"],
                    "access": call.answer["access_token"],
                }
            elif call.operation == "refresh" and call.status == 200:
                last[call.about["session"]] |= {
                    "refresh": call.answer["refresh_token"],
                    "access": call.answer["access_token"],
                }
        places = asyncio.Semaphore(16)

        async def ask(session, kind, token, replica):
            request = (
                "POST",
                "/oauth2/introspect",
                f"token={token}".encode(),
                {"Content-Type": "application/x-www-form-urlencoded"},
            )
            async with places:
                await self.load.call(
                    "introspect", request, replica, session=session, kind=kind, token=token, audit=True
                )

        async with asyncio.TaskGroup() as tasks:
            for number, (session, tokens) in enumerate(last.items()):
                for offset, (kind, token) in enumerate(tokens.items()):
                    replica = self.replicas.all[(number + offset) % 3]
                    tasks.create_task(ask(session, kind, token, replica))

    def outage(self, fault, operations):
        """The longest time without an acknowledged call of these operations, from a fault on.

        If the fault concerns one replica alone, the clients wait for that one and ask nothing: then it is the
        longest time that a call at one of the others took.
        """
        end = fault.recovered + SETTLE_S
        done = [call for call in self.ledger.calls if call.operation in operations and call.is_done]
        if fault.replica and not fault.is_failover:
            others = [call for call in done if call.replica != fault.replica]
            asked = [call for call in others if fault.started <= call.called <= end]
            return max((call.returned - call.called for call in asked), default=end - fault.started)
        times = sorted(call.returned for call in done if fault.started - 1 <= call.returned <= end)
        gaps = [after - before for before, after in pairwise(times)]
        return max(gaps, default=end - fault.started)

    def print_fault(self, fault):
        """What a fault cost."""
        writes, reads = self.outage(fault, WRITES), self.outage(fault, {"introspect"})
        took, after = fault.recovered - fault.started, fault.recovered - fault.ended
        print(
            f"{fault.kind:28} no write for {writes:5.1f} s, no read for {reads:5.1f} s, "
            f"well after {took:.0f} s, {after:.1f} s after its end{self.refusals(fault)}",
            flush=True,
        )

    def refusals(self, fault):
        """What a replica answered that had no database."""
        if not (fault.replica and fault.silent):
            return ""
        begin, end = fault.silent
        asked = [call for call in self.ledger.calls if call.replica == fault.replica]
        asked = [call for call in asked if begin < call.called < end]
        took = [call.returned - call.called for call in asked if call.status == 503]
        hung = sum(call.status is None for call in asked)
        slowest = f"after {statistics.median(took):.1f} s, at most {max(took):.1f} s" if took else ""
        return f"; {fault.replica} answered {len(took)} calls 503 {slowest}, and {hung} not in time"

    def clocks(self):
        """By how many seconds the clock of each replica is wrong, by the identifiers that it gave."""
        wall, wrong = time.time() - time.monotonic(), defaultdict(list)
        for call in self.ledger.calls:
            if call.operation == "open" and call.status == 201:
                given = int(call.answer["session"].replace("-", "")[:12], 16) / 1000
                took = call.returned - call.called
                wrong[call.replica].append((took, given - wall - call.called - took / 2))
        # The quickest opening shows it best.
        return {replica.name: min(wrong[replica.name], default=(0, 0))[1] for replica in self.replicas.all}

    def report(self, seconds):
        """Prints the figures; answers whether the outcome is the one that is wanted."""
        checker = Checker(self.ledger)
        found = checker.judge()
        by_kind = defaultdict(list)
        for fault in self.ledger.faults:
            by_kind[fault.kind].append((self.outage(fault, WRITES), self.outage(fault, {"introspect"})))
        print(f"\n{seconds:.0f} s, {sum(fault.kills for fault in self.ledger.faults)} kills")
        for kind, outages in by_kind.items():
            writes, reads = zip(*outages, strict=True)
            print(
                f"{len(outages):3} {kind:28} no write for {spread(writes)} s, no read for {spread(reads)} s"
            )
        clocks = self.clocks()
        print("clocks: " + ", ".join(f"{name} {wrong:+.1f} s" for name, wrong in clocks.items()))
        for replica in self.replicas.all:
            if abs(clocks[replica.name] - replica.clock) > 0.3:
                checker.fault("the clocks of the test", f"that of {replica.name} is not {replica.clock:+} s")
        for name, number in checker.figures().items():
            print(f"{number:8} {name}")
        for cause, number in checker.explained.items():
            print(f"{number:8} refusals because {cause}")
        for finding in found[:20]:
            print("FOUND", finding)
        print(f"{len(found)} findings")
        if self.arguments.plant:
            is_found = bool(BROKEN[self.arguments.plant] & {finding.partition(":")[0] for finding in found})
            print(f"{self.arguments.plant} was {'found' if is_found else 'NOT FOUND'}")
            return is_found
        return not found


def spread(values):
    """The least, the median and the most."""
    return f"{min(values):.1f} / {statistics.median(values):.1f} / {max(values):.1f}"


if __name__ == "__main__":
    os.umask(0o022)
    main()
