"""The fifteen things that users of other session libraries for FastAPI ask for; each test cites where."""

import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI, Request
from fastapi.responses import RedirectResponse
from fastapi.testclient import TestClient
from websockets.asyncio.client import connect

from keyfob import AccessToken, Conflict, Session
from keyfob.fastapi import Keyfob
from keyfob.testing import Server, browser, find_binary, give_cookie

from .application import make_app
from .conftest import CLIENTS, Serving
from .running import running

pytestmark = pytest.mark.anyio


def signed_in(server: Serving, app: FastAPI, subject: str, **session: Any) -> TestClient:
    with Server.client(server, "web") as web:
        page = browser(app, follow_redirects=False)
        give_cookie(page, web.open(subject, **session))
        return page


def test_sessions_are_dependencies_and_security_schemes(server: Serving) -> None:
    """fastapi#754, #3322: "the best way … would be with dependencies and the security/auth utilities"."""
    auth = server.keyfob()
    app = FastAPI()
    auth.install(app)

    @app.get("/")
    async def home(session: Annotated[Session, Depends(auth.session())]) -> str:
        return session.subject

    assert signed_in(server, app, "alice").get("/").json() == "alice"
    assert app.openapi()["paths"]["/"]["get"]["security"] == [{"keyfob session": []}]


def test_a_stolen_cookie_is_worthless_after_the_sign_out(server: Serving, app: FastAPI) -> None:
    """apache/tooling-trusted-releases#731: a signed cookie cannot be revoked, so audits fail ASVS 7.4.1."""
    page, thief = signed_in(server, app, "alice"), browser(app)
    thief.cookies.update(page.cookies)
    assert thief.get("/").json() == "alice"
    page.post("/logout")
    assert thief.get("/").status_code == 401


def test_sessions_are_listed_and_ended(server: Serving, app: FastAPI) -> None:
    """fastapi-users#1538, FastAPI-boilerplate#296: list and end sessions, limit devices."""
    laptop, phone, tablet = (signed_in(server, app, "nina") for _ in range(3))
    one = next(device for device in laptop.get("/me/session/devices").json() if not device["current"])
    assert laptop.delete(f"/me/session/devices/{one['id']}").status_code == 204
    assert sorted(page.get("/").status_code for page in (phone, tablet)) == [200, 401]
    assert laptop.delete("/me/session/devices").json() == {"ended": 1}
    assert [page.get("/").status_code for page in (laptop, phone, tablet)] == [200, 401, 401]


def test_the_number_of_devices_is_limited(tmp_path: Path) -> None:
    """FastAPI-boilerplate#296: when there are more, the first one is ended."""
    config = tmp_path / "keyfob.toml"
    config.write_text("[policy.default]\nmax_sessions_per_subject = 2\n")
    with Serving(CLIENTS, config=config) as server:
        app = make_app(server.keyfob())
        pages = [signed_in(server, app, "olga") for _ in range(3)]
        assert [page.get("/").status_code for page in pages] == [401, 200, 200]


async def test_refresh_tokens_freshness_and_scopes(server: Serving, app: FastAPI) -> None:
    """fastapi-users#350, #1075, #1367: open since 2020."""
    async with server.client() as web:
        issued = await web.open("alice", acr="aal1", scopes=["read"])
        refreshed = await web.refresh(issued.tokens.refresh_token or "")
        assert refreshed is not None
        found = await web.introspect(refreshed.access_token)
        assert found is not None
        assert found.scopes == ("read",)
    bearer = {"authorization": f"Bearer {refreshed.access_token}"}
    page = browser(app)
    assert page.get("/api/orders", headers=bearer).status_code == 200
    assert page.post("/api/orders", headers=bearer).status_code == 403
    assert page.get("/either-fresh", headers=bearer).status_code == 401


@pytest.mark.parametrize("cache", [None, 3.0])
async def test_an_access_token_can_be_logged_out(server: Serving, cache: float | None) -> None:
    """fastapi#2263, #2101, fastapi-jwt#53: how do I log out a JWT?"""
    async with server.client(cache=cache) as api, server.client() as web:
        issued = await web.open("alice")
        for _ in range(3):
            assert await api.introspect(issued.tokens.access_token)
            await asyncio.sleep(0.02)
        await web.end(issued.session)
        await asyncio.sleep(0.05 if cache else 0)
        assert await api.introspect(issued.tokens.access_token) is None


def test_the_cookie_goes_out_with_a_redirect(server: Serving) -> None:
    """fastapi#2452, #4535, fastapi-sessions#21: a cookie set on `response` is lost with a redirect."""
    auth = server.keyfob()
    app = FastAPI()
    auth.install(app)

    @app.post("/login")
    async def login(request: Request) -> RedirectResponse:
        await auth.sign_in(request, "alice")
        return RedirectResponse("/", 303)

    assert browser(app, follow_redirects=False).post("/login").headers["set-cookie"].startswith("__Host-")


async def test_an_open_websocket_does_not_survive_the_sign_out(server: Serving, app: FastAPI) -> None:
    """agenticos#1437, klangk#3152, open-webui#29695, t3code#8418, kubestellar#4906."""
    async with server.client() as web, running(app) as address:
        issued = await web.open("alice")
        cookie = {"cookie": f"__Host-keyfob={issued.session_token}"}
        async with connect(f"ws://{address}/ws", additional_headers=cookie, proxy=None) as ws:
            await ws.recv()
            await web.end(issued.session)
            begun = time.perf_counter()
            await ws.wait_closed()
        assert ws.close_code == 4401
        assert time.perf_counter() - begun < 1


async def test_introspection_is_cached_with_a_bound_and_exact_in_between(server: Serving) -> None:
    """fastmcp#3285: introspecting at each call is too much."""
    async with server.client(cache=3) as api, server.client() as web:
        issued = await web.open("alice")
        await api.introspect(issued.tokens.access_token)
        await asyncio.sleep(0.05)
        begun = time.perf_counter()
        for _ in range(2000):
            assert await api.introspect(issued.tokens.access_token)
        assert time.perf_counter() - begun < 0.5
        await web.end(issued.session)
        await asyncio.sleep(0.05)
        assert await api.introspect(issued.tokens.access_token) is None


def test_a_resource_is_protected_with_scopes(server: Serving) -> None:
    """authlib#545, #775: no ResourceProtector for FastAPI."""
    auth = server.keyfob()
    app = FastAPI()

    @app.get("/")
    async def read(token: Annotated[AccessToken, Depends(auth.token("read"))]) -> str:
        return token.subject

    assert browser(app).get("/").headers["www-authenticate"] == "Bearer"
    with Server.client(server, "web") as web:
        reader, writer = (
            web.open("alice", scopes=[scope]).tokens.access_token for scope in ("read", "write")
        )
    assert browser(app).get("/", headers={"authorization": f"Bearer {reader}"}).json() == "alice"
    answer = browser(app).get("/", headers={"authorization": f"Bearer {writer}"})
    assert (answer.status_code, answer.headers["www-authenticate"]) == (
        403,
        'Bearer error="insufficient_scope", scope="read"',
    )


async def test_the_client_is_asynchronous_and_has_one_small_dependency(server: Serving) -> None:
    """ory/sdk#99, workos-python#412: the SDK is not async."""
    from importlib.metadata import requires

    needed = [name for name in requires("keyfob") or () if "extra ==" not in name]
    needed = [name for name in needed if not name.startswith("keyfob-server")]
    assert len(needed) == 1
    assert needed[0].startswith("httptools")
    async with server.client() as web:
        issued = await web.open("alice")
        answers = await asyncio.gather(*(web.check(issued.session_token) for _ in range(200)))
        assert all(answers)


def test_dependency_overrides_find_a_made_dependency(server: Serving, auth: Keyfob, app: FastAPI) -> None:
    """fastapi-users#672, #687."""
    with Server.client(server, "web") as web:
        alice = web.open("alice").session
    app.dependency_overrides[auth.session()] = lambda: alice
    assert browser(app).get("/").json() == "alice"


def test_the_lock_is_in_the_documentation(app: FastAPI) -> None:
    """openlibrary#12683, fastapi#1900, #3004: the lock is missing in /docs; cookies cannot be tried there."""
    document = browser(app).get("/openapi.json").json()
    scheme = document["components"]["securitySchemes"]["keyfob session"]
    assert scheme["in"] == "cookie"
    assert "Sign in on this site" in scheme["description"]
    assert document["paths"]["/"]["get"]["security"] == [{"keyfob session": []}]
    assert browser(app).get("/docs").status_code == 200


async def test_two_requests_do_not_overwrite_each_others_data(server: Serving) -> None:
    """flask-session#71, fastify-session#237."""
    async with server.client() as web:
        session = (await web.open("alice", data={"cart": []})).session

        async def add(item: int) -> None:
            while True:
                found = await web.data(session)
                try:
                    cart = [*found.value["cart"], item]
                    await web.save(session, {"cart": cart}, version=found.version)
                    return
                except Conflict:
                    continue

        await asyncio.gather(*(add(n) for n in range(8)))
        assert sorted((await web.data(session)).value["cart"]) == list(range(8))


async def test_a_question_costs_a_fraction_of_what_httpx_costs(server: Serving) -> None:
    """httpx#3215, httpx2#827: httpx is slow. The measure is the processor time of the caller."""
    import httpx

    async with server.client() as web:
        token = (await web.open("alice")).session_token
        headers = {"authorization": vars(web)["_settings"].basic, "content-type": "application/json"}
        body = json.dumps({"token": token}).encode()

        async def ours() -> None:
            assert await web.check(token)

        async with httpx.AsyncClient() as client:

            async def theirs() -> None:
                answer = await client.post(f"{server.url}/v1/sessions/check", content=body, headers=headers)
                assert answer.json()["active"]

            assert 3 * await cost(ours) < await cost(theirs)


async def cost(ask: Callable[[], Any]) -> float:
    rounds: list[float] = []
    for _ in range(5):
        begun = time.process_time()
        for _ in range(40):
            await ask()
        rounds.append(time.process_time() - begun)
    return statistics.median(rounds)


def test_the_server_starts_with_the_application(tmp_path: object) -> None:
    """supertokens-core#487: "No SuperTokens core available to query". One command starts both."""
    code = (
        "import keyfob.sync\n"
        "with keyfob.sync.Client() as client:\n"
        "    print(client.check(client.open('alice').session_token).subject)"
    )
    command = [find_binary(), "dev", "--memory", "--", sys.executable, "-c", code]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KEYFOB_")}
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=str(tmp_path), env=environment, timeout=60
    )
    assert (done.stdout, done.returncode) == ("alice\n", 0), done.stderr
