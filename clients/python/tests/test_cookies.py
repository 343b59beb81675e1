"""The cookie is set on every kind of answer."""

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from keyfob.testing import browser

from .application import Slow, make_app
from .conftest import Serving


@pytest.fixture(params=["plain", "BaseHTTPMiddleware inside", "BaseHTTPMiddleware outside", "both"])
def page(request: pytest.FixtureRequest, server: Serving) -> TestClient:
    auth = server.keyfob()
    app = make_app(auth, installed=False)
    if request.param in ("BaseHTTPMiddleware inside", "both"):
        app.add_middleware(Slow)
    auth.install(app)
    if request.param in ("BaseHTTPMiddleware outside", "both"):
        app.add_middleware(Slow)
    return browser(app, follow_redirects=False)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/login?user=alice", 303),
        ("/login-in-a-thread?user=alice", 200),
        ("/login-and/stream", 200),
        ("/login-and/raise", 418),
        ("/login-and/handled", 418),
    ],
)
def test_the_cookie_is_on_every_answer_and_no_cache_keeps_it(
    page: TestClient, path: str, status: int
) -> None:
    answer = page.post(path)
    assert answer.status_code == status
    assert answer.headers.get_list("set-cookie")[0].startswith("__Host-keyfob=kfs_")
    assert answer.headers.get_list("cache-control") == ["no-store"]
    assert page.get("/").json() == "alice"


def test_a_cookie_after_the_answer_began_is_an_error(page: TestClient) -> None:
    assert "the answer has begun" in page.post("/too-late").text


def test_an_answer_without_a_cookie_is_left_alone(page: TestClient) -> None:
    page.post("/login?user=alice")
    answer = page.get("/")
    assert "set-cookie" not in answer.headers
    assert "cache-control" not in answer.headers


def test_the_last_cookie_of_a_request_counts(server: Serving) -> None:
    from fastapi import Request

    auth = server.keyfob()
    app = FastAPI()
    auth.install(app)

    @app.post("/")
    async def in_and_out(request: Request) -> None:
        await auth.sign_in(request, "alice")
        await auth.sign_out(request)

    (cookie,) = browser(app).post("/").headers.get_list("set-cookie")
    assert "Max-Age=0" in cookie


def test_a_device_is_described_as_keyfob_takes_it(server: Serving, page: TestClient) -> None:
    agent = ("Mozilla/5.0 \xe9\x85 " + "x" * 2000).encode("latin-1")
    assert page.post("/login?user=hans", headers={b"user-agent": agent}).status_code == 303
    assert page.get("/me/session").json()["user_agent"].startswith("Mozilla/5.0 ")
