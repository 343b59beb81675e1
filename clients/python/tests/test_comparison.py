"""The row of keyfob in docs/comparison.md, "Session libraries for FastAPI": one test for each column."""

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from keyfob.fastapi import Keyfob
from keyfob.pytest import Clock, SignedIn
from keyfob.testing import Server, browser, give_cookie

from .application import make_app
from .conftest import Serving

PAGE = Path(__file__).parents[3] / "docs" / "comparison.md"
Cell = Callable[[str], str]


@pytest.fixture
def cell() -> Cell:
    """What the page says of keyfob in a column."""
    table = PAGE.read_text("utf-8").partition("## Session libraries for FastAPI")[2]
    rows = [
        [part.strip() for part in line.split("|")[1:-1]] for line in table.splitlines() if line[:1] == "|"
    ]
    own = next(row for row in rows if row[0].startswith("**keyfob**"))
    return dict(zip(rows[0], own, strict=True)).__getitem__


def signed_in(server: Serving, app: FastAPI, subject: str, **session: Any) -> TestClient:
    with Server.client(server, "web") as web:
        page = browser(app)
        give_cookie(page, web.open(subject, **session))
        return page


def test_shape(cell: Cell, auth: Keyfob) -> None:
    assert cell("shape") == "dependencies: `session()`, `token()`, `principal()`, `websocket()`; a router"
    made = (auth.session(), auth.token(), auth.principal(), auth.websocket())
    assert all(callable(one) for one in made)
    assert {"/session", "/session/devices"} <= {getattr(route, "path", "") for route in auth.router().routes}


def test_in_the_applications_docs(cell: Cell, app: FastAPI) -> None:
    assert cell("in the application's `/docs`") == "yes, cookie and bearer"
    schemes = app.openapi()["components"]["securitySchemes"]
    assert (schemes["keyfob session"]["in"], schemes["keyfob access token"]["scheme"]) == ("cookie", "bearer")


def test_websocket(cell: Cell, server: Serving, app: FastAPI) -> None:
    assert cell("WebSocket") == "yes, closed with 4401 when the session ends"
    with signed_in(server, app, "alice") as page, page.websocket_connect("/ws") as socket:
        socket.receive_text()
        page.post("/logout")
        with pytest.raises(WebSocketDisconnect) as closed:
            socket.receive_text()
        assert closed.value.code == 4401


def test_sign_out_everywhere_and_devices(cell: Cell, server: Serving, app: FastAPI) -> None:
    assert cell("sign out everywhere, list of devices") == "yes, both, with routes"
    here, there = (signed_in(server, app, "walter") for _ in range(2))
    assert len(here.get("/me/session/devices").json()) == 2
    assert here.delete("/me/session/devices").json() == {"ended": 1}
    assert (here.get("/").status_code, there.get("/").status_code) == (200, 401)


def test_step_up(cell: Cell, server: Serving, app: FastAPI) -> None:
    assert cell("step-up") == "level and age"
    hour = datetime.now(timezone.utc) - timedelta(hours=1)
    of_level_1, of_level_2 = (
        signed_in(server, app, "vera", acr="aal1"),
        signed_in(server, app, "vera", acr="aal2"),
    )
    assert [page.get("/secret").status_code for page in (of_level_1, of_level_2)] == [401, 200]
    old = signed_in(server, app, "vera", acr="aal2", auth_time=hour)
    assert [page.get("/recent").status_code for page in (old, of_level_2)] == [401, 200]


def test_for_tests(cell: Cell, keyfob_signed_in: SignedIn, keyfob_clock: Clock) -> None:
    assert cell("for tests") == "the real server in memory, with a clock"
    page = keyfob_signed_in(make_app(Keyfob()), "alice")
    assert page.get("/").json() == "alice"
    keyfob_clock.advance("31m")
    assert page.get("/").status_code == 401


def test_only_the_rank_has_no_test(cell: Cell) -> None:
    assert cell("rank") == "-"
