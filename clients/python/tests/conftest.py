"""A keyfob for the tests, and one of its own for a test that stops or kills it."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from keyfob import Client
from keyfob.fastapi import Keyfob
from keyfob.testing import Server, browser

from .application import make_app

CLIENTS = Path(__file__).with_name("clients.toml")


class Serving(Server):
    def client(self, client_id: str = "web", **options: Any) -> Client:  # type: ignore[override]
        return Client(self.url, client_id, self.environment["KEYFOB_CLIENT_SECRET"], **options)

    def keyfob(self, client_id: str = "web", **options: Any) -> Keyfob:
        return Keyfob(self.url, client_id, self.environment["KEYFOB_CLIENT_SECRET"], **options)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)


@pytest.fixture(scope="session")
def server() -> Iterator[Serving]:
    with Serving(CLIENTS) as running:
        yield running


@pytest.fixture
def own_server() -> Generator[Serving, None, None]:
    with Serving(CLIENTS) as running:
        try:
            yield running
        finally:
            with contextlib.suppress(ProcessLookupError):
                running.signal(signal.SIGCONT)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def auth(server: Serving) -> Keyfob:
    return server.keyfob()


@pytest.fixture
def app(auth: Keyfob) -> FastAPI:
    return make_app(auth)


@pytest.fixture
def page(app: FastAPI) -> Iterator[TestClient]:
    with browser(app, follow_redirects=False) as opened:
        yield opened
