"""Kept answers against the real server: fast, dropped by the feed, and never used after their bound."""

import asyncio
import signal
import time
from pathlib import Path

import pytest

from keyfob import Client, Refused, Unavailable

from .conftest import CLIENTS, Serving
from .raw import gate, listening, read_request
from .test_transport import answer

pytestmark = pytest.mark.anyio
BOUND = 3.0


async def kept(client: Client, token: str) -> None:
    """Asks until answers about the token are kept and used."""
    for _ in range(100):
        assert await client.check(token)
        if vars(client)["_loops"][asyncio.get_running_loop()].feed.get(token):
            return
        await asyncio.sleep(0.01)
    raise AssertionError("nothing is kept")


async def test_a_kept_answer_needs_no_request(server: Serving) -> None:
    async with server.client(cache=BOUND) as web:
        token = (await web.open("alice")).session_token
        await kept(web, token)
        begun = time.perf_counter()
        for _ in range(1000):
            assert await web.check(token)
        assert time.perf_counter() - begun < 0.2


async def test_an_end_elsewhere_is_seen_within_milliseconds(server: Serving) -> None:
    late: list[float] = []
    async with server.client(cache=BOUND) as web, server.client() as elsewhere:
        for _ in range(100):
            issued = await elsewhere.open("alice")
            await kept(web, issued.session_token)
            await elsewhere.end(issued.session)
            begun = time.perf_counter()
            while await web.check(issued.session_token):
                await asyncio.sleep(0)
            late.append(time.perf_counter() - begun)
    late.sort()
    assert late[50] < 0.02, late
    assert late[-1] < 0.25, late


async def test_no_reader_believes_an_ended_session(server: Serving) -> None:
    """50 sessions with 4 readers each, which are ended while they are read."""
    async with server.client(cache=BOUND) as web, server.client() as elsewhere:
        opened = [await elsewhere.open(f"r{n}") for n in range(50)]
        ended: dict[str, float] = {}
        late: list[float] = []

        async def read(token: str, session_id: str) -> None:
            while True:
                found = await web.check(token)
                if found is None:
                    return
                assert found.id == session_id
                if session_id in ended:
                    late.append(time.perf_counter() - ended[session_id])
                await asyncio.sleep(0)

        async def end(n: int) -> None:
            await asyncio.sleep(0.02 * n)
            await elsewhere.end(opened[n].session)
            ended[opened[n].session.id] = time.perf_counter()

        readers = [read(one.session_token, one.session.id) for one in opened for _ in range(4)]
        await asyncio.gather(*readers, *(end(n) for n in range(50)))
        assert max(late, default=0.0) < 0.25


async def test_what_this_client_changes_itself_it_sees_at_once(server: Serving) -> None:
    async with server.client(cache=BOUND) as web:
        issued = await web.open("alice")
        await kept(web, issued.session_token)
        version = (await web.data(issued.session)).version
        await web.save(issued.session, {"a": 1}, version=version)
        assert (await web.check(issued.session_token)).data == {"a": 1}  # type: ignore[union-attr]
        renewed = await web.renew(issued.session, acr="aal2")
        assert await web.check(issued.session_token) is None
        await kept(web, renewed.session_token)
        await web.end(issued.session)
        assert await web.check(renewed.session_token) is None
        again = await web.open("alice")
        await kept(web, again.session_token)
        await web.end_all("alice")
        assert await web.check(again.session_token) is None


async def test_what_others_change_is_seen_by_the_feed(server: Serving) -> None:
    async with server.client(cache=BOUND) as web, server.client() as elsewhere:
        issued = await elsewhere.open("alice")
        await kept(web, issued.session_token)
        version = (await elsewhere.data(issued.session)).version
        await elsewhere.save(issued.session, {"a": 1}, version=version)
        await asyncio.sleep(0.05)
        assert (await web.check(issued.session_token)).data == {"a": 1}  # type: ignore[union-attr]
        await elsewhere.end_all("alice")
        await asyncio.sleep(0.05)
        assert await web.check(issued.session_token) is None


async def test_a_revoked_access_token_is_seen_by_the_feed(server: Serving) -> None:
    async with server.client(cache=BOUND) as web, server.client() as elsewhere:
        issued = await elsewhere.open("alice")
        one, two = issued.tokens.access_token, (await elsewhere.refresh(issued.tokens.refresh_token or ""))
        assert two is not None
        for token in (one, two.access_token):
            assert await web.introspect(token)
        await asyncio.sleep(0.05)
        await elsewhere.revoke(one)
        await asyncio.sleep(0.05)
        assert await web.introspect(one) is None
        assert await web.introspect(two.access_token)
        await elsewhere.end(issued.session)
        await asyncio.sleep(0.05)
        assert await web.introspect(two.access_token) is None


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL], ids=["stopped", "killed"])
async def test_no_kept_answer_is_used_after_the_bound(own_server: Serving, number: signal.Signals) -> None:
    async with own_server.client(cache=BOUND, timeout=0.5) as web:
        issued = await web.open("alice")
        await kept(web, issued.session_token)
        own_server.signal(number)
        begun = time.monotonic()
        last = 0.0
        while time.monotonic() - begun < BOUND + 1.5:
            try:
                assert await web.check(issued.session_token)
                last = time.monotonic() - begun
            except Unavailable:
                pass
            await asyncio.sleep(0.005)
        assert 0.5 < last <= BOUND
        if number == signal.SIGSTOP:
            own_server.signal(signal.SIGCONT)
            await kept(web, issued.session_token)
            await web.end(issued.session)
            assert await web.check(issued.session_token) is None


async def test_a_kept_answer_does_not_stop_a_session_from_sliding(server: Serving) -> None:
    async with server.client(cache=BOUND, touch=0.2) as web, server.client() as elsewhere:
        issued = await web.open("alice")
        await kept(web, issued.session_token)
        for _ in range(30):
            await asyncio.sleep(0.01)
            assert await web.check(issued.session_token)
        found = await elsewhere.read(issued.session.id)
        assert found is not None
        assert (found.idle_expires_at - issued.session.idle_expires_at).total_seconds() > 0.15


async def test_an_answer_that_was_no_activity_is_not_kept(server: Serving) -> None:
    async with server.client(cache=BOUND) as web:
        token = (await web.open("alice")).session_token
        assert await web.check(token, touch=False)
        assert len(vars(web)["_loops"][asyncio.get_running_loop()].feed.answers) == 0


async def test_an_answer_that_is_not_active_is_not_kept(server: Serving) -> None:
    async with server.client(cache=BOUND) as web:
        for n in range(10):
            assert await web.check("kfs_" + str(n) * 96) is None
        assert len(vars(web)["_loops"][asyncio.get_running_loop()].feed.answers) == 0


async def test_a_feed_that_is_behind_the_retention_drops_all_and_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The end of the session is no longer in the log when the network is back: the server answers 410."""
    config = tmp_path / "keyfob.toml"
    config.write_text('[events]\nretention = "1m"\n')
    is_open = True
    with Serving(CLIENTS, config=config) as server:
        secret = server.environment["KEYFOB_CLIENT_SECRET"]
        async with (
            gate(server.url, b"/v1/feed", lambda: is_open) as proxy,
            Client(proxy.url, "web", secret, cache=BOUND, touch=600) as web,
            server.client() as elsewhere,
        ):
            issued, before = await elsewhere.open("alice"), (await elsewhere.open("bob")).session_token
            await kept(web, issued.session_token)
            found = await elsewhere.check(issued.session_token, touch=False)
            assert found is not None
            position = str(found.moment.position)
            is_open = False
            await elsewhere.end(issued.session)
            server.advance("2m")
            token = (await elsewhere.open("alice")).session_token
            while not await is_gone(elsewhere, position):
                await asyncio.sleep(0.1)
            is_open = True
            while "All kept answers are dropped" not in caplog.text:
                await asyncio.sleep(0.05)
            assert "410" in caplog.text
            for other in (token, before):
                await kept(web, other)
            assert await web.check(issued.session_token) is None


async def is_gone(client: Client, position: str) -> bool:
    """Whether the server has removed events behind a position."""
    try:
        await asyncio.wait_for(anext(client.feed(after=position)), 0.2)
    except Refused as error:
        return error.problem.status == 410
    except asyncio.TimeoutError:
        pass
    return False


def test_a_bound_that_the_feed_cannot_keep_is_an_error() -> None:
    for cache in (0, 0.5, 2.9, -1):
        with pytest.raises(ValueError, match="3 or more"):
            Client(cache=cache)


@pytest.mark.parametrize(("kind", "lifetime"), [("session", 3), ("token", 3), ("idle", 20)])
async def test_remaining_seconds_are_reckoned_from_the_servers_date(kind: str, lifetime: int) -> None:
    """The clock of this machine is years ahead of the server's; the answer ends in `lifetime` seconds there.

    One second is taken off, since `Date` has no fractions; of the idle timeout, a tenth is used.
    """
    ends = f"2020-01-01T00:00:{lifetime:02}Z"
    session = {"id": "s", "subject": "alice", "client_id": "web", "authenticated_at": "2020-01-01T00:00:00Z"}
    late = "2020-01-02T00:00:00Z"
    session |= {"idle_expires_at": ends if kind == "idle" else late}
    session |= {"expires_at": ends if kind == "session" else late}
    checked = {"active": True, "session": session, "token": {"kind": "session", "scope": ""}, "feed_seq": "5"}
    token = {"active": True, "token_type": "Bearer", "sub": "alice", "client_id": "web", "sid": "s"}
    token |= {"exp": 1577836800 + lifetime, "feed_seq": "5"}
    asked: list[bytes] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            request = await read_request(reader)
            if b"/v1/feed" in request:
                await asyncio.sleep(0.2 if b"wait=1" in request else 0)
                writer.write(answer({"items": [], "next": "5", "head": "5"}))
            else:
                asked.append(request)
                value = token if kind == "token" else checked
                writer.write(answer(value, b"date: Wed, 01 Jan 2020 00:00:00 GMT"))

    async with listening(handler) as raw, Client(raw.url, "web", "kfc_", cache=BOUND) as web:

        async def ask() -> None:
            assert await (web.introspect("t") if kind == "token" else web.check("kfs_t"))

        begun = time.monotonic()
        await ask()
        await asyncio.sleep(0.05)
        while len(asked) == 1:
            await ask()
            await asyncio.sleep(0.02)
        assert 1.8 < time.monotonic() - begun < 2.3
