"""The pytest plugin: a real keyfob, browsers, signed-in browsers, and a clock that tests move.

It loads nothing but pytest until a fixture is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime, timedelta

    from fastapi.testclient import TestClient
    from starlette.types import ASGIApp

    from ._models import Device
    from .testing import Server

CLIENTS_TABLE = "[[tool.keyfob.client]]"


class Browser(Protocol):
    """The fixture `keyfob_browser`."""

    def __call__(self, app: ASGIApp) -> TestClient:
        """A browser for an application."""
        ...


class SignedIn(Protocol):
    """The fixture `keyfob_signed_in`."""

    def __call__(
        self,
        app: ASGIApp,
        subject: str,
        *,
        acr: str | None = None,
        amr: tuple[str, ...] = (),
        auth_time: datetime | None = None,
        device: Device | None = None,
        claims: dict[str, Any] | None = None,
        data: dict[str, Any] | None = None,
        remember: bool = False,
    ) -> TestClient:
        """A browser of a subject who has a session; `auth_time` may be in the past."""
        ...


class Clock(Protocol):
    """The fixture `keyfob_clock`."""

    def advance(self, by: timedelta | str) -> None:
        """Moves the server's time forward."""
        ...


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the ini option."""
    parser.addini("keyfob_clients", f"file with the clients; default: a pyproject.toml with {CLIENTS_TABLE}")


@pytest.fixture(scope="session")
def keyfob_server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A keyfob in memory for the whole run (of each xdist worker); its credentials are in the environment."""
    from .testing import Server

    with Server(_clients(request.config)) as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        yield server


@pytest.fixture
def keyfob_clock(keyfob_server: Server) -> Clock:
    """Moves the server's time forward: `keyfob_clock.advance("31m")`. It never goes back."""
    return keyfob_server


@pytest.fixture
def keyfob_browser(keyfob_server: Server) -> Iterator[Browser]:
    """Makes browsers that keep Secure cookies: `keyfob_browser(app)` is a TestClient."""
    from .testing import browser

    assert keyfob_server.environment, "the application reads it at first use"
    opened: list[TestClient] = []

    def make(app: ASGIApp) -> TestClient:
        opened.append(browser(app))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


@pytest.fixture
def keyfob_signed_in(keyfob_server: Server, keyfob_browser: Browser) -> Iterator[SignedIn]:
    """Makes signed-in browsers without a sign-in page: `keyfob_signed_in(app, "alice", acr="aal2")`."""
    from .testing import give_cookie

    with keyfob_server.client() as client:

        def make(app: ASGIApp, subject: str, **session: Any) -> TestClient:
            made = keyfob_browser(app)
            give_cookie(made, client.open(subject, **session))
            return made

        yield make


def _clients(config: pytest.Config) -> str | None:
    given = config.getini("keyfob_clients")
    if given:
        return str(config.rootpath / given)
    project = config.rootpath / "pyproject.toml"
    if project.is_file() and CLIENTS_TABLE in project.read_text("utf-8"):
        return str(project)
    return None
