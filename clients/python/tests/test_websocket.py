"""A WebSocket ends with its session."""

import asyncio
import signal
import statistics
import time

import pytest
from fastapi import Depends, FastAPI, WebSocket
from fastapi.testclient import TestClient
from websockets.asyncio.client import ClientConnection, connect

from keyfob.fastapi import Keyfob
from keyfob.testing import browser, give_cookie

from .application import make_app
from .conftest import Serving
from .running import running

pytestmark = pytest.mark.anyio
WS = "wss://testserver/ws"


def opened(address: str, token: str, path: str = "/ws") -> connect:
    cookie = f"__Host-keyfob={token}"
    return connect(f"ws://{address}{path}", additional_headers={"cookie": cookie}, proxy=None)


async def closed(ws: ClientConnection) -> int | None:
    """The code of the close, which is waited for."""
    await asyncio.wait_for(ws.wait_closed(), 10)
    return ws.close_code


@pytest.mark.parametrize("path", ["/ws", "/ticker"])
async def test_a_websocket_is_closed_with_4401_when_its_session_ends(
    server: Serving, auth: Keyfob, app: FastAPI, path: str
) -> None:
    """agenticos#1437, klangk#3152, open-webui#29695: an open WebSocket survives the sign-out."""
    async with server.client() as web, running(app) as address:
        issued = await web.open("alice")
        async with opened(address, issued.session_token, path) as ws:
            assert await ws.recv() in ("alice", "tick")
            await web.end(issued.session)
            assert await closed(ws) == 4401
        await asyncio.sleep(0.05)
        assert app.state.closed_with == 4401  # what the application sees at its next receive or send


async def test_the_end_arrives_within_milliseconds(server: Serving, app: FastAPI) -> None:
    took: list[float] = []
    async with server.client() as web, running(app) as address:
        for _ in range(20):
            issued = await web.open("alice")
            async with opened(address, issued.session_token) as ws:
                await ws.recv()
                await asyncio.sleep(0.02)
                await web.end(issued.session)
                begun = time.perf_counter()
                assert await closed(ws) == 4401
                took.append(time.perf_counter() - begun)
    assert statistics.median(took) < 0.05, took


async def test_signing_out_everywhere_else_closes_the_others(server: Serving, app: FastAPI) -> None:
    async with server.client() as web, running(app) as address:
        one, two = await web.open("ida"), await web.open("ida")
        async with opened(address, one.session_token) as kept, opened(address, two.session_token) as ended:
            await kept.recv()
            await ended.recv()
            await web.end_all("ida", keep=one.session)
            assert await closed(ended) == 4401
            await kept.send("still here")
            assert await kept.recv() == "still here"


async def test_a_step_up_keeps_the_websocket(server: Serving, app: FastAPI) -> None:
    async with server.client() as web, running(app) as address:
        issued = await web.open("alice")
        async with opened(address, issued.session_token) as ws:
            await ws.recv()
            await web.renew(issued.session, acr="aal2")
            await web.save(issued.session, {"a": 1}, version=(await web.data(issued.session)).version)
            await asyncio.sleep(0.1)
            await ws.send("still here")
            assert await ws.recv() == "still here"


@pytest.mark.parametrize("cookie", [None, "x", "kfs_" + "A" * 96])
async def test_a_visitor_sees_4401_and_not_1006(app: FastAPI, cookie: str | None) -> None:
    """A close before `accept` is an HTTP 403, of which a browser sees no code."""
    page = browser(app)
    if cookie:
        page.cookies.set("__Host-keyfob", cookie)
    with page.websocket_connect(WS, subprotocols=["chat"]) as ws:
        assert ws.accepted_subprotocol == "chat"  # a browser fails a connection without one it asked for
        assert ws.receive() == {"type": "websocket.close", "code": 4401, "reason": "sign in first"}


async def test_an_outage_is_1013(own_server: Serving) -> None:
    page = browser(make_app(own_server.keyfob(timeout=0.2)))
    page.cookies.set("__Host-keyfob", "kfs_" + "A" * 96)
    own_server.signal(signal.SIGSTOP)
    with page.websocket_connect(WS) as ws:
        assert ws.receive()["code"] == 1013


async def test_the_recheck_ends_what_the_feed_cannot(server: Serving) -> None:
    """The feed of this client does not exist: it listens to a server that answers it with 403."""
    auth = server.keyfob()
    app = FastAPI()
    auth.install(app)

    @app.websocket("/ws")
    async def ws(websocket: WebSocket, session: object = Depends(auth.websocket(recheck=0.1))) -> None:
        await websocket.accept()
        await websocket.receive_text()

    async def refused(after: int | None, wait: int) -> dict[str, object]:
        from keyfob import Misconfigured

        raise Misconfigured("no feed")

    vars(auth)["_read_feed"] = refused
    async with server.client() as web, running(app) as address:
        issued = await web.open("alice")
        async with opened(address, issued.session_token) as socket:
            await web.end(issued.session)
            assert await closed(socket) == 4401


async def test_an_outage_leaves_open_websockets_open(own_server: Serving) -> None:
    app = make_app(own_server.keyfob(timeout=0.2))
    async with own_server.client() as web, running(app) as address:
        issued = await web.open("alice")
        async with opened(address, issued.session_token) as ws:
            await ws.recv()
            own_server.signal(signal.SIGSTOP)
            await asyncio.sleep(1)
            await ws.send("still here")
            assert await ws.recv() == "still here"
            own_server.signal(signal.SIGCONT)
            await web.end(issued.session)
            assert await closed(ws) == 4401


async def test_the_feed_ends_with_the_last_websocket_and_with_the_lifespan(server: Serving) -> None:
    auth = server.keyfob()
    async with server.client() as web, running(make_app(auth)) as address:
        issued = await web.open("alice")
        async with opened(address, issued.session_token) as ws:
            await ws.recv()
            assert feeds() == 1
        for _ in range(200):
            if feeds() == 0:
                break
            await asyncio.sleep(0.01)
        assert feeds() == 0
        lasting = await opened(address, issued.session_token)
        await lasting.recv()
        assert feeds() == 1
    assert feeds() == 0
    await lasting.close()


def feeds() -> int:
    return sum(task.get_name() == "keyfob feed" for task in asyncio.all_tasks())


def test_without_install_it_is_an_error(server: Serving) -> None:
    auth = server.keyfob()
    page = browser(make_app(auth, installed=False))
    with pytest.raises(RuntimeError, match="install"), page.websocket_connect(WS):
        pass


async def test_the_test_client_sees_the_close(server: Serving, app: FastAPI) -> None:
    async with server.client() as web:
        issued = await web.open("alice")

    def browse() -> None:
        page: TestClient = browser(app)
        give_cookie(page, issued)
        with page.websocket_connect(WS) as ws:
            assert ws.receive_text() == "alice"
            page.post("/logout")
            assert ws.receive() == {"type": "websocket.close", "code": 4401}

    await asyncio.to_thread(browse)
