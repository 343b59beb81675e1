"""A keyfob for the tests, and one of its own for a test that stops or kills it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from keyfob import Client

from .raw import RawServer

BINARY = os.environ.get("KEYFOB_BIN", "keyfob")


class Serving:
    def __init__(
        self, url: str, credentials: dict[str, str], process: subprocess.Popen[str], folder: str
    ) -> None:
        self.url = url
        self.folder = folder
        self.credentials = credentials
        self.process = process

    def client(self, client_id: str = "web", **options: object) -> Client:
        return Client(self.url, client_id, self.credentials[client_id], **options)  # type: ignore[arg-type]

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)


@contextmanager
def serving() -> Generator[Serving, None, None]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "data").mkdir(mode=0o700)
        config = Path(folder, "config.toml")
        config.write_text(f'[server]\nlisten = "127.0.0.1:{port}"\nissuer = "http://127.0.0.1:{port}"\n')
        process = subprocess.Popen(
            [BINARY, "--config", str(config), "serve"],
            cwd=folder,
            text=True,
            stderr=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
        try:
            assert process.stdout is not None
            process.stdout.readline()
            credentials: dict[str, str] = {}
            for name, *arguments in (
                (
                    "web",
                    "--permission",
                    "sessions,introspect",
                    "--grant",
                    "refresh_token,client_credentials",
                    "--scope",
                    "read,write",
                    "--opens-for",
                    "phone",
                ),
                ("phone", "--public", "--grant", "refresh_token", "--scope", "read,write"),
                ("audit", "--permission", "events"),
                ("other", "--permission", "sessions,introspect"),
            ):
                made = subprocess.run(
                    [BINARY, "--config", str(config), "--json", "client", "create", name, *arguments],
                    cwd=folder,
                    capture_output=True,
                    text=True,
                )
                assert made.returncode == 0, made.stderr
                credentials[name] = json.loads(made.stdout).get("client_secret", "")
            yield Serving(f"http://127.0.0.1:{port}", credentials, process, folder)
        finally:
            process.send_signal(signal.SIGCONT)
            process.terminate()
            process.wait(10)
            assert process.stdout is not None
            process.stdout.close()


@pytest.fixture(scope="session")
def server() -> Iterator[Serving]:
    with serving() as running:
        yield running


@pytest.fixture
def own_server() -> Iterator[Serving]:
    with serving() as running:
        yield running


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


__all__ = ["RawServer"]
