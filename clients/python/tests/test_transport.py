"""The transport: no answer reaches another request, also if one is cancelled, late or malformed."""

from __future__ import annotations

import asyncio
import json
import random
import ssl
import time
from pathlib import Path
from typing import Any

import pytest
import trustme

from keyfob import Client, Unavailable
from keyfob._http import Origin, Pool

from .conftest import Serving
from .raw import answering, chunking_proxy, listening, read_request

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """uvicorn runs applications on uvloop where it is installed."""
    if request.param == "uvloop":
        pytest.importorskip("uvloop")
    return "asyncio", {"use_uvloop": request.param == "uvloop"}


USERS = 40
# In less than the five minutes that the tokens are valid, on a busy machine too.
CANCELLATIONS = {"asyncio": 4_000, "uvloop": 2_000}


def answer(value: object, *headers: bytes, status: bytes = b"200 OK") -> bytes:
    body = json.dumps(value).encode()
    lines = [b"HTTP/1.1 " + status, b"content-length: %d" % len(body), *headers, b"", body]
    return b"\r\n".join(lines)


def token(subject: str) -> dict[str, object]:
    return {"active": True, "token_type": "Bearer", "sub": subject, "client_id": "web", "exp": 4_000_000_000}


def client(url: str, timeout: float = 1.0, connections: int = 4) -> Client:
    return Client(url, "web", "kfc_", timeout=timeout, connections=connections)


async def subjects(asking: Client, *tokens: str) -> list[str | None]:
    found = [await asking.introspect(token) for token in tokens]
    return [token.subject if token else None for token in found]


async def storm(asking: Client, tokens: dict[str, str]) -> int:
    """Asks for random users, cancels each question at a random moment, and checks every answer that comes."""
    chance = random.Random(7)
    uvloop = type(asyncio.get_running_loop()).__module__.startswith("uvloop")
    cancellations = CANCELLATIONS["uvloop" if uvloop else "asyncio"]
    answered = 0

    async def ask(subject: str) -> None:
        nonlocal answered
        found = await asking.introspect(tokens[subject])
        assert found is not None
        assert found.subject == subject
        answered += 1

    names = list(tokens)
    cancelled = 0
    while cancelled < cancellations:
        tasks = [asyncio.ensure_future(ask(chance.choice(names))) for _ in range(50)]
        await asyncio.sleep(0.02 * chance.random())  # some are answered, and some are not even sent
        while any(not task.done() for task in tasks):
            chance.choice(tasks).cancel()
            await asyncio.sleep(chance.choice((0, 0, 0.0005)))
        results = await asyncio.gather(*tasks, return_exceptions=True)
        for result in results:
            assert result is None or isinstance(result, asyncio.CancelledError), result
            cancelled += result is not None
    for subject in names:
        await ask(subject)
    return answered


async def users(serving: Serving) -> dict[str, str]:
    async with serving.client() as web:
        return {f"u{n}": (await web.open(f"u{n}")).tokens.access_token for n in range(USERS)}


async def test_thousands_of_cancellations_mix_up_no_answers(server: Serving) -> None:
    tokens = await users(server)
    async with server.client(timeout=10, connections=8) as asking:
        assert await storm(asking, tokens) > 2 * USERS


async def test_thousands_of_cancellations_mix_up_no_answers_in_chunks(server: Serving) -> None:
    tokens = await users(server)
    secret = server.environment["KEYFOB_CLIENT_SECRET"]
    async with (
        chunking_proxy(server.url) as proxy,
        Client(proxy.url, "web", secret, timeout=10, connections=8) as asking,
    ):
        assert await storm(asking, tokens) > 2 * USERS


async def test_a_connection_is_used_again_after_one_complete_answer() -> None:
    async with answering(answer(token("a")), answer(token("b"))) as raw, client(raw.url) as asking:
        assert await subjects(asking, "a", "b") == ["a", "b"]
        assert raw.connections == 1


@pytest.mark.parametrize(
    "left_over",
    [b"H", b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", b"0", answer(token("mallory"))],
    ids=["a byte", "an answer", "no HTTP", "an answer for a token"],
)
async def test_bytes_after_an_answer_close_the_connection(left_over: bytes) -> None:
    async with (
        answering(answer(token("a")) + left_over, answer(token("b"))) as raw,
        client(raw.url) as asking,
    ):
        assert await subjects(asking, "a", "b") == ["a", "b"]
        assert raw.connections == 2


async def test_bytes_that_come_later_close_the_connection() -> None:
    late = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(answer(token("a")))
        await late.wait()
        writer.write(answer(token("mallory")))
        await read_request(reader)

    async with listening(handler) as raw, client(raw.url) as asking:
        await asking.introspect("a")
        late.set()
        await asyncio.sleep(0.05)
        found = await asking.introspect("b")
        assert found is not None
        assert (found.subject, raw.connections) == ("a", 2)


@pytest.mark.parametrize(
    "bytes_",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nz\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"x" * 70_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        answer({"active": "false"}),
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{!",
        answer({}, status=b"302 Found"),
        answer({}, status=b"500 Internal Server Error"),
        answer("<html>", status=b"403 Forbidden"),
    ],
)
async def test_what_is_not_keyfobs_answer_is_an_outage(bytes_: bytes) -> None:
    async with answering(bytes_, bytes_) as raw, client(raw.url) as asking:
        with pytest.raises(Unavailable):
            await asking.introspect("a")


@pytest.mark.parametrize(
    "head",
    [b"HTTP/1.1 200 OK\r\nx: ", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1;"],
    ids=["a header", "a chunk extension"],
)
async def test_an_answer_without_an_end_is_bounded(head: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keyfob._http.BODY_BYTES_MAX", 2_000_000)
    sent = 0

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await read_request(reader)
        writer.write(head)
        while True:
            writer.write(b"x" * 10_000)
            await writer.drain()
            sent += 10_000

    async with listening(handler) as raw, client(raw.url, timeout=20) as asking:
        with pytest.raises(Unavailable, match="too large"):
            await asking.save("01a22397-6e4d-7cc3-bff8-92b41844c1dc", {}, version=1)
    assert sent < 20_000_000  # the buffers of the sockets included


async def test_an_answer_without_a_length_is_not_taken_for_an_empty_one() -> None:
    """redis-py's CVE-2023-28858 is the class of fault: the rest of one answer became the next one's."""
    body = json.dumps(token("a")).encode()
    chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (
        len(body),
        body,
    )
    async with answering(chunked, answer(token("b"))) as raw, client(raw.url) as asking:
        assert await subjects(asking, "a", "b") == ["a", "b"]
        assert raw.connections == 1


async def test_an_interim_answer_is_followed_by_the_answer() -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"
    async with answering(early + answer(token("a")), answer(token("b"))) as raw, client(raw.url) as asking:
        assert await subjects(asking, "a", "b") == ["a", "b"]
        assert raw.connections == 1


async def test_a_safe_request_is_sent_again_once_when_the_connection_broke() -> None:
    async with answering(None, answer(token("a")), None, None) as raw, client(raw.url) as asking:
        assert await asking.introspect("a")
        with pytest.raises(Unavailable):
            await asking.introspect("a")
        assert raw.connections == 4 - 1  # the third request went over the connection of the second


async def test_a_change_with_a_version_is_not_sent_again() -> None:
    async with answering(None, None) as raw, client(raw.url) as asking:
        with pytest.raises(Unavailable):
            await asking.save("01a22397-6e4d-7cc3-bff8-92b41844c1dc", {}, version=1)
        assert len(raw.requests) == 1


async def test_one_deadline_covers_the_wait_for_a_connection_and_the_answer() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with listening(silent) as raw, client(raw.url, timeout=0.2, connections=1) as asking:
        begun = time.monotonic()
        results = await asyncio.gather(*(asking.introspect("a") for _ in range(5)), return_exceptions=True)
        assert all(isinstance(result, Unavailable) for result in results)
        assert time.monotonic() - begun < 0.4


@pytest.mark.parametrize("first", [0.4, 30.0], ids=["the same timeout", "a longer one"])
async def test_each_request_over_a_connection_has_its_own_deadline(first: float) -> None:
    answers = [answer(token("a")), None]

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while value := answers.pop(0):
            await read_request(reader)
            writer.write(value)
        await reader.read()

    async with listening(once) as raw:
        pool, request = Pool(Origin.parse(raw.url), 1), b"GET / HTTP/1.1\r\n\r\n"
        assert (await pool.request(request, first, retry=False)).status == 200
        await asyncio.sleep(0.3)
        begun = time.monotonic()
        with pytest.raises(Unavailable, match="in time"):
            await pool.request(request, 0.4, retry=False)
        assert 0.35 < time.monotonic() - begun < 0.6
        assert raw.connections == 1


async def test_the_time_is_that_of_the_answer_and_not_of_an_interim_one() -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nDate: Sat, 28 Nov 2026 22:00:00 GMT\r\n\r\n"
    dated = answer(token("a"), b"Date:  Sat, 28 Nov 2026 22:58:23 GMT ", b"x-date: no")
    async with answering(early + dated, answer(token("a"))) as raw, client(raw.url) as asking:
        for expected in (1795906703, time.time()):  # without a Date: this machine's clock
            found = await asking.introspect("a")
            assert found is not None
            assert abs(found.moment.server - expected) < 5


async def test_requests_wait_in_order_for_a_connection(server: Serving) -> None:
    async with server.client(connections=2) as asking:
        order: list[int] = []

        async def ask(number: int) -> None:
            await asking.introspect("v4.public.x")
            order.append(number)

        await asyncio.gather(*(ask(n) for n in range(20)))
        assert sorted(order) == list(range(20))
        assert all(abs(n - position) <= 2 for position, n in enumerate(order))


async def test_a_client_works_in_one_event_loop_after_another(server: Serving) -> None:
    """ "Event loop is closed": what users of httpx see when a client outlives the loop it began in."""
    web = server.client()

    def in_a_loop() -> None:
        assert asyncio.run(web.introspect("v4.public.x")) is None

    for _ in range(3):
        await asyncio.to_thread(in_a_loop)


async def test_no_server_is_an_outage() -> None:
    async with client("http://127.0.0.1:9") as asking:
        with pytest.raises(Unavailable, match="cannot connect"):
            await asking.introspect("a")


async def test_tls_is_verified_against_the_roots_of_the_system(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate: Any = authority.issue_cert("localhost")
    certificate.configure_cert(context)
    async with answering(answer(token("a")), answer(token("b")), tls=context) as raw:
        url = raw.url.replace("http://127.0.0.1", "https://localhost")
        async with client(url) as asking:
            with pytest.raises(Unavailable, match="certificate verify failed"):
                await asking.introspect("a")
        authority.cert_pem.write_to_path(tmp_path / "ca.pem")
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        async with client(url) as asking:
            assert await subjects(asking, "a", "b") == ["a", "b"]
        async with client(url.replace("localhost", "127.0.0.1")) as asking:
            with pytest.raises(Unavailable, match="certificate"):
                await asking.introspect("a")


async def test_a_connection_that_was_idle_for_long_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keyfob._http.IDLE_S", 0.05)
    async with answering(answer(token("a")), answer(token("b"))) as raw, client(raw.url) as asking:
        await asking.introspect("a")
        await asyncio.sleep(0.1)
        await asking.introspect("b")
        assert raw.connections == 2


async def test_closing_leaves_no_connection_and_no_task(server: Serving) -> None:
    async with server.client(cache=3) as web:
        issued = await web.open("alice")
        await asyncio.gather(*(web.check(issued.session_token) for _ in range(10)))
    await asyncio.sleep(0.05)
    assert [task for task in asyncio.all_tasks() if task.get_name().startswith("keyfob")] == []
