"""The kept answers and the feed, without a server: what is kept, dropped and believed."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

import pytest

from keyfob import Misconfigured, Session, Unavailable
from keyfob._answers import Answers, Kept
from keyfob._feed import Feed
from keyfob._models import Moment

pytestmark = pytest.mark.anyio
NOW = datetime.now(timezone.utc)


def session(name: str = "s", position: int = 10) -> Session:
    moment = Moment(NOW.timestamp(), time.monotonic(), position)
    return replace(Session(name, f"of {name}", "web", None, (), NOW, NOW, NOW), moment=moment)


def kept(name: str, position: int = 10, until: float = 100.0) -> Kept:
    return Kept(session(name, position), name, position, until)


def test_the_answer_that_was_unused_for_the_longest_time_is_dropped_first() -> None:
    answers = Answers(limit=3)
    for name in "abc":
        answers.put(name, kept(name))
    assert answers.get("a", 0)
    answers.put("d", kept("d"))
    assert [name for name in "abcd" if answers.get(name, 0)] == ["a", "c", "d"]
    assert len(answers) == 3


def test_an_answer_ends_at_its_time() -> None:
    answers = Answers()
    answers.put("a", kept("a", until=5))
    assert answers.get("a", 4.9)
    assert answers.get("a", 5) is None
    assert len(answers) == 0


def test_answers_are_dropped_by_session_and_by_subject() -> None:
    answers = Answers()
    for token, name, position in (("1", "a", 3), ("2", "a", 9), ("3", "b", 3)):
        answers.put(token, kept(name, position))
    answers.drop_session("a", 5)
    assert [token for token in "123" if answers.get(token, 0)] == ["2", "3"]
    answers.drop_session("a")
    answers.drop_session("a")
    assert [token for token in "123" if answers.get(token, 0)] == ["3"]
    answers.drop_subject("of b")
    assert len(answers) == 0


def test_the_index_does_not_grow() -> None:
    answers = Answers(limit=10)
    for n in range(1000):
        answers.put(f"t{n}", kept(f"s{n}"))
        answers.put(f"t{n}", kept(f"s{n}"))
    assert len(vars(answers)["_of_session"]) == len(answers) == 10


class Pages:
    """A feed whose answers the test gives."""

    def __init__(self) -> None:
        self.asked: list[tuple[int | None, int]] = []
        self.queue: asyncio.Queue[dict[str, Any] | Exception] = asyncio.Queue()

    async def read(self, after: int | None, wait: int) -> dict[str, Any]:
        self.asked.append((after, wait))
        page = await self.queue.get()
        if isinstance(page, Exception):
            raise page
        return page

    async def give(self, *items: tuple[int, str, str | None], to: int, head: int | None = None) -> None:
        entries = [
            {"cursor": str(at), "type": kind, **({"session_id": name} if name else {})}
            for at, kind, name in items
        ]
        self.queue.put_nowait({"items": entries, "next": str(to), "head": str(head or to)})
        await asyncio.sleep(0.01)


@pytest.fixture
def pages() -> Pages:
    return Pages()


async def test_an_answer_is_used_once_the_feed_was_heard_and_until_its_event(pages: Pages) -> None:
    feed = Feed(pages.read, 3)
    feed.keep("t", session(position=10), "s", 30)
    await asyncio.sleep(0)
    assert feed.get("t") is None  # the feed was not heard yet
    await pages.give(to=10)
    assert feed.get("t")
    await pages.give((11, "session.updated", "another"), to=11)
    assert feed.get("t")
    await pages.give((12, "session.ended", "s"), to=12)
    assert feed.get("t") is None
    assert pages.asked[:3] == [(10, 0), (10, 1), (11, 1)]
    feed.close()


async def test_an_answer_that_is_older_than_an_event_of_its_session_is_not_kept(pages: Pages) -> None:
    feed = Feed(pages.read, 3)
    feed.keep("other", session("other", 10), "other", 30)
    await pages.give((11, "session.ended", "s"), to=11)
    feed.keep("t", session("s", 10), "s", 30)
    assert feed.get("t") is None
    feed.keep("t", session("s", 11), "s", 30)
    assert feed.get("t")
    await pages.give((12, "all.revoked", None), to=12)
    assert feed.get("t") is None
    feed.keep("t", session("s", 11), "s", 30)
    assert feed.get("t") is None
    feed.keep("t", session("s", 9), "s", 30)  # from a replica that is behind the position the feed began at
    assert feed.get("t") is None
    feed.close()


async def test_a_page_that_does_not_reach_the_head_vouches_for_nothing(pages: Pages) -> None:
    feed = Feed(pages.read, 3)
    feed.keep("t", session(), "s", 30)
    await pages.give((11, "session.opened", "x"), to=11, head=12)
    assert feed.get("t") is None
    await pages.give((12, "session.opened", "y"), to=12)
    assert feed.get("t")
    feed.close()


async def test_the_bound_counts_from_the_start_of_the_request(pages: Pages) -> None:
    feed = Feed(pages.read, 0.2)
    feed.keep("t", session(), "s", 30)
    await asyncio.sleep(0.15)
    await pages.give(to=10)
    assert feed.get("t")
    await asyncio.sleep(0.1)
    assert feed.get("t") is None  # 0.26 seconds after the start, 0.1 after the answer
    feed.close()


async def test_an_outage_of_the_feed_drops_nothing_and_vouches_for_nothing(pages: Pages) -> None:
    feed = Feed(pages.read, 0.3)
    feed.keep("t", session(), "s", 30)
    await pages.give(to=10)
    pages.queue.put_nowait(Unavailable("no"))
    await asyncio.sleep(0.35)
    assert feed.get("t") is None
    await pages.give(to=10)
    assert feed.get("t")
    feed.close()


async def test_a_position_that_is_gone_drops_everything(pages: Pages) -> None:
    from keyfob import Problem, Refused

    feed = Feed(pages.read, 3)
    watched = session()
    feed.keep("t", watched, "s", 30)
    with feed.watch(watched) as watch:
        await pages.give(to=10)
        pages.queue.put_nowait(Refused(Problem(410, "gone")))
        await pages.give(to=90)
        assert feed.get("t") is None
        assert pages.asked[-2:] == [(None, 0), (90, 1)]
        assert await watch.changes(1) == {"restarted"}
        feed.keep("t", session(position=50), "s", 30)
        await pages.give(to=90)
        assert feed.get("t") is None
        feed.keep("t", session(position=90), "s", 30)
        assert feed.get("t")
    feed.close()


async def test_the_feed_ends_with_the_last_kept_answer_and_starts_again(pages: Pages) -> None:
    feed = Feed(pages.read, 3)
    feed.keep("t", session(), "s", 0.05)
    await asyncio.sleep(0.06)
    await pages.give(to=10)
    assert vars(feed)["_task"] is None
    feed.keep("t", session(position=20), "s", 30)
    await asyncio.sleep(0)
    assert pages.asked[-1] == (20, 0)
    feed.close()


async def test_without_the_permission_nothing_is_kept(pages: Pages, caplog: pytest.LogCaptureFixture) -> None:
    feed = Feed(pages.read, 3)
    feed.keep("t", session(), "s", 30)
    pages.queue.put_nowait(Misconfigured("this needs the permission introspect"))
    await asyncio.sleep(0.01)
    feed.keep("t", session(), "s", 30)
    assert feed.get("t") is None
    assert len(pages.asked) == 1
    assert "permission introspect" in caplog.text


async def test_a_watch_reports_an_event_that_was_handled_before_it_began(pages: Pages) -> None:
    feed = Feed(pages.read, 3)
    feed.keep("t", session("other"), "other", 30)
    await pages.give((11, "session.ended", "s"), to=11)
    with feed.watch(session("s", 10)) as watch:
        assert await watch.changes(1) == {"missed"}
        await pages.give((12, "session.updated", "s"), to=12)
        assert await watch.changes(1) == {"session.updated"}
        assert await watch.changes(0.01) == set()
    feed.close()


async def test_what_is_remembered_of_events_is_bounded(pages: Pages, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keyfob._feed.LATEST_MAX", 2)
    feed = Feed(pages.read, 3)
    feed.keep("t", session("other"), "other", 30)
    await pages.give(*((n, "session.ended", f"s{n}") for n in range(11, 15)), to=14)
    assert len(vars(feed)["_latest"]) == 2
    feed.keep("a", session("s11", 10), "s11", 30)
    feed.keep("b", session("s99", 11), "s99", 30)
    feed.keep("c", session("s99", 12), "s99", 30)
    assert [token for token in "abc" if feed.get(token)] == ["c"]
    feed.close()
