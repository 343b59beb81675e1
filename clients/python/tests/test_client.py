"""The client against the real server."""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from keyfob import Client, Conflict, Device, Misconfigured, Refused, Unavailable, sync

from .conftest import Serving
from .raw import answering, listening, read_request
from .test_transport import answer, token

pytestmark = pytest.mark.anyio
NO_SESSION = "01a22397-6e4d-7cc3-bff8-92b41844c1dc"


async def test_a_session_is_opened_checked_changed_and_ended(server: Serving) -> None:
    async with server.client() as web:
        issued = await web.open(
            "alice", acr="aal1", amr=["pwd"], device=Device("laptop"), claims={"tier": "gold"}, data={"n": 1}
        )
        found = await web.check(issued.session_token)
        assert found is not None
        assert (found.id, found.subject, found.acr, found.amr) == (
            issued.session.id,
            "alice",
            "aal1",
            ("pwd",),
        )
        assert (found.device.label, dict(found.claims), dict(found.data)) == (
            "laptop",
            {"tier": "gold"},
            {"n": 1},
        )
        assert found.scopes == ("read", "write")
        assert timedelta(0) <= found.authentication_age < timedelta(seconds=10)
        assert await web.end(found)
        assert await web.check(issued.session_token) is None
        assert (await web.read(found.id)).state == "ended"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "token",
    ["", "x", "kfs_", "kfs_" + "A" * 96, "kfs_\udcff", "kfs_\r\n", "kfs_" + "A" * 9999, "v4.public.x\n"],
)
async def test_what_has_not_the_form_of_a_token_is_not_valid(server: Serving, token: str) -> None:
    async with server.client() as web:
        assert await web.check(token) is None
        assert await web.introspect(token) is None


async def test_a_token_of_another_kind_is_not_valid(server: Serving) -> None:
    async with server.client() as web:
        issued = await web.open("alice")
        assert issued.tokens.refresh_token is not None
        assert await web.check(issued.tokens.access_token) is None
        assert await web.introspect(issued.session_token) is None
        assert await web.introspect(issued.tokens.refresh_token) is None
        assert (await web.introspect(issued.tokens.access_token)).subject == "alice"  # type: ignore[union-attr]


async def test_a_session_of_another_client_is_not_valid(server: Serving) -> None:
    async with server.client() as web, server.client("other") as other:
        issued = await web.open("alice")
        assert await other.check(issued.session_token) is None
        assert await other.read(issued.session.id) is None
        assert not await other.end(issued.session)


async def test_activity_is_counted_unless_it_is_not_wanted(server: Serving) -> None:
    async with server.client() as web:
        issued = await web.open("alice")
        await asyncio.sleep(0.02)
        quiet = await web.check(issued.session_token, touch=False)
        used = await web.check(issued.session_token)
        assert quiet is not None
        assert used is not None
        assert quiet.idle_expires_at == issued.session.idle_expires_at < used.idle_expires_at


async def test_lost_updates_are_conflicts(server: Serving) -> None:
    async with server.client() as web:
        session = (await web.open("alice")).session
        first, second = await web.data(session), await web.data(session)
        saved = await web.save(session, {"cart": [1]}, version=first.version)
        with pytest.raises(Conflict) as conflict:
            await web.save(session, {"cart": [2]}, version=second.version)
        assert conflict.value.problem.status == 412
        assert await web.data(session) == saved
        assert saved.value == {"cart": [1]}


async def test_a_step_up_replaces_the_token_and_keeps_the_session(server: Serving) -> None:
    async with server.client() as web:
        issued = await web.open(
            "alice", acr="aal1", auth_time=datetime.now(timezone.utc) - timedelta(hours=1)
        )
        assert issued.session.authentication_age > timedelta(minutes=59)
        renewed = await web.renew(issued.session, acr="aal2", amr=["otp"])
        assert (renewed.session.id, renewed.session.acr) == (issued.session.id, "aal2")
        assert await web.check(issued.session_token) is None
        assert (await web.check(renewed.session_token)).acr == "aal2"  # type: ignore[union-attr]
        with pytest.raises(Refused) as refused:
            await web.renew(NO_SESSION)
        assert refused.value.problem.status == 404


async def test_sessions_are_listed_and_ended_for_their_subject_only(server: Serving) -> None:
    async with server.client() as web:
        one, two, three = [(await web.open("lea", device=Device(f"d{n}"))).session for n in range(3)]
        assert {found.id for found in await web.sessions("lea")} == {one.id, two.id, three.id}
        for wrong in (NO_SESSION, "x", "../../x", "", one.id + "x"):
            assert not await web.end(wrong, subject="lea")
        assert not await web.end(one.id, subject="mallory")
        assert await web.end(one.id, subject="lea")
        assert await web.end_all("lea", keep=two) == 1
        assert [found.id for found in await web.sessions("lea")] == [two.id]
        assert {found.state for found in await web.sessions("lea", state="ended")} == {"ended"}
        assert await web.end_all("lea") == 1


async def test_more_sessions_than_a_page_are_listed(server: Serving) -> None:
    async with server.client() as web:
        await asyncio.gather(*(web.open("many") for _ in range(230)))
        assert len({found.id for found in await web.sessions("many")}) == 230


async def test_a_subject_may_be_any_text(server: Serving) -> None:
    async with server.client() as web:
        for subject in ("a/b?c=d&e#f", "100% 🦀", "x y", "+", "%2e"):
            issued = await web.open(subject)
            assert (await web.check(issued.session_token)).subject == subject  # type: ignore[union-attr]
            assert [found.subject for found in await web.sessions(subject)] == [subject]
            assert await web.end_all(subject) == 1


async def test_concurrent_refreshes_are_one(server: Serving) -> None:
    async with server.client() as web:
        token = (await web.open("alice")).tokens.refresh_token
        assert token is not None
        answers = await asyncio.gather(*(web.refresh(token) for _ in range(20)))
        assert len({answer and answer.refresh_token for answer in answers}) == 1
        assert await web.refresh("kfr_" + "A" * 96) is None


async def test_a_cancelled_refresh_does_not_cancel_the_others(server: Serving) -> None:
    async with server.client() as web:
        token = (await web.open("alice")).tokens.refresh_token
        assert token is not None
        first, second = (asyncio.ensure_future(web.refresh(token)) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        assert await second


async def test_a_backend_refreshes_for_its_public_client(server: Serving) -> None:
    async with server.client() as web:
        token = (await web.open("alice", client_id="phone")).tokens.refresh_token
        assert token is not None
        assert await web.refresh(token) is None  # it was issued to the other client
        refreshed = await web.refresh(token, "phone")
        assert refreshed is not None
        await web.revoke(refreshed.refresh_token or "")
        assert await web.refresh(refreshed.refresh_token or "", "phone") is None


async def test_an_opening_whose_answer_was_lost_is_one_session(server: Serving) -> None:
    """The first answer never arrives; the second attempt has the same key."""
    host, port = server.url.removeprefix("http://").split(":")
    lost: list[bytes] = []

    async def losing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection(host, int(port))
        try:
            while True:
                up_writer.write(await read_request(reader))
                found = await read_request(up_reader)
                if not lost:
                    lost.append(found)
                    return
                writer.write(found)
        finally:
            up_writer.close()

    async with (
        listening(losing) as raw,
        Client(raw.url, "web", server.environment["KEYFOB_CLIENT_SECRET"]) as web,
    ):
        issued = await web.open("lost")
        assert [found.id for found in await web.sessions("lost")] == [issued.session.id]
        assert issued.session_token.encode() in lost[0]


async def test_the_clients_own_token_is_shared_and_renewed_ahead_of_time() -> None:
    def issued(name: str, seconds: int) -> bytes:
        return answer({"access_token": name, "token_type": "Bearer", "expires_in": seconds})

    async with (
        answering(issued("a", 1), issued("b", 100), None, None) as raw,
        Client(raw.url, "w", "s") as web,
    ):
        source = web.own_token(scopes=["read"])
        assert set(await asyncio.gather(*(source() for _ in range(10)))) == {"a"}
        await asyncio.sleep(0.85)
        assert await source() == "a"  # still valid; the next one is requested
        await asyncio.sleep(0.1)
        assert await source() == "b"
        assert len(raw.requests) == 2
        with pytest.raises(Unavailable):
            await web.own_token()()


async def test_the_clients_own_token_is_a_real_one(server: Serving) -> None:
    async with server.client() as web:
        found = await web.introspect(await web.own_token(scopes=["read"])())
        assert found is not None
        assert (found.subject, found.session_id, found.authentication_age) == ("web", None, None)
        with pytest.raises(Refused) as refused:
            await web.own_token(scopes=["nothing"])()
        assert refused.value.problem.code == "invalid_scope"


async def test_events_are_read_in_order_and_gone_ones_are_refused(server: Serving) -> None:
    async with server.client("audit") as audit, server.client() as web:
        session = (await web.open("carol")).session
        opened = None
        async for event in audit.events():
            if event.session_id == session.id:
                opened = event
                break
        assert opened is not None
        assert (opened.type, opened.subject) == ("session.opened", "carol")
        await web.end(session)
        async for event in audit.events(after=opened.cursor):
            assert event.type == "session.ended"
            break


async def test_missing_rights_and_wrong_secrets_are_misconfigurations(server: Serving) -> None:
    async with server.client("audit") as audit:
        with pytest.raises(Misconfigured, match="permission"):
            await audit.open("alice")
    async with Client(server.url, "web", "kfc_wrong") as web:
        for call in (
            web.check("kfs_x"),
            web.introspect("x"),
            web.open("a"),
            web.sessions("a"),
            web.own_token()(),
        ):
            with pytest.raises(Misconfigured):
                await call


async def test_a_wrong_value_is_refused_and_named(server: Serving) -> None:
    async with server.client() as web:
        with pytest.raises(Refused) as refused:
            await web.open("")
        assert (refused.value.problem.status, refused.value.problem.field) == (400, "subject")


async def test_the_environment_is_read_at_first_use(server: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("URL", "CLIENT_ID", "CLIENT_SECRET"):
        monkeypatch.delenv(f"KEYFOB_{name}", raising=False)
    web = Client()
    with pytest.raises(Misconfigured, match="KEYFOB_URL is not set"):
        await web.check("kfs_x")
    monkeypatch.setenv("KEYFOB_URL", server.url)
    monkeypatch.setenv("KEYFOB_CLIENT_ID", "web")
    monkeypatch.setenv("KEYFOB_CLIENT_SECRET", server.environment["KEYFOB_CLIENT_SECRET"])
    async with web:
        assert await web.check("kfs_x") is None


@pytest.mark.parametrize(
    "url",
    ["", "localhost", "ftp://x", "http://", "http://a:b", "http://u@h", "http://h/p", "http://h\r\nx: y"],
)
async def test_a_wrong_url_is_named(url: str) -> None:
    with pytest.raises(Misconfigured):
        await Client(url, "web", "kfc_").check("kfs_x")


async def test_a_unix_socket_is_an_address(tmp_path: Path) -> None:
    path = tmp_path / "keyfob.sock"
    async with answering(answer(token("alice")), path=path), Client(f"unix:{path}", "web", "kfc_") as web:
        assert (await web.introspect("t")).subject == "alice"  # type: ignore[union-attr]
    async with Client(f"unix:{path}x", "web", "kfc_") as web:
        with pytest.raises(Unavailable, match=r"keyfob\.sockx"):
            await web.introspect("t")


async def test_secrets_are_not_printed(server: Serving, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with server.client() as web:
        issued = await web.open("alice", data={"note": "private"})
        found = await web.check(issued.session_token)
        printed = f"{issued!r} {issued} {found!r} {web!r} {vars(web)['_settings']!r} {caplog.text}"
        for secret in (
            issued.session_token,
            issued.tokens.access_token,
            server.environment["KEYFOB_CLIENT_SECRET"],
            "private",
        ):
            assert secret not in printed


async def test_an_unreadable_server_time_or_member_breaks_nothing() -> None:
    """A later server may add members, and a proxy may drop `Date`."""
    value = {
        "active": True,
        "token_type": "Bearer",
        "sub": "a",
        "client_id": "c",
        "exp": 4_000_000_000,
        "x": 1,
    }
    async with answering(answer(value, b"date: yesterday")) as raw, Client(raw.url, "w", "s") as web:
        assert (await web.introspect("t")).subject == "a"  # type: ignore[union-attr]


def test_the_synchronous_client_is_the_same(server: Serving) -> None:
    with sync.Client(server.url, "web", server.environment["KEYFOB_CLIENT_SECRET"]) as web:
        issued = web.open("sync", acr="aal1")
        found = web.check(issued.session_token)
        assert found is not None
        assert web.save(found, {"a": 1}, version=web.data(found).version).value == {"a": 1}
        assert web.introspect(issued.tokens.access_token)
        assert web.introspect(web.own_token()())
        assert web.refresh(issued.tokens.refresh_token or "")
        renewed = web.renew(found, acr="aal2")
        assert [one.id for one in web.sessions("sync")] == [found.id]
        assert web.end(found.id, subject="sync")
        assert web.end_all("sync") == 0
        web.revoke(renewed.session_token)
        assert web.read(found.id).state == "ended"  # type: ignore[union-attr]
        with pytest.raises(Refused):
            web.open("")
    with sync.Client(server.url, "audit", server.environment["KEYFOB_CLIENT_SECRET"]) as audit:
        assert next(iter(audit.events())).type == "client.created"


def test_the_synchronous_client_serves_many_threads_and_loops(server: Serving) -> None:
    from concurrent.futures import ThreadPoolExecutor

    web = sync.Client(server.url, "web", server.environment["KEYFOB_CLIENT_SECRET"], connections=4)
    tokens = [web.open(f"t{n}").session_token for n in range(8)]
    with ThreadPoolExecutor(8) as threads:
        found = threads.map(web.check, tokens * 25)
        assert [one and one.subject for one in found] == [f"t{n}" for n in range(8)] * 25
    web.close()
    assert web.check(tokens[0])
    web.close()
