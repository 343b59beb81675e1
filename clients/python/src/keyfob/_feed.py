"""The feed of one event loop: it says which kept answers still hold, and wakes those who watch a session."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from ._answers import Answers, Kept
from ._errors import Misconfigured, Refused, Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator

    from ._models import AccessToken, Session

    ReadFeed = Callable[[int | None, int], Awaitable[dict[str, Any]]]

LATEST_MAX = 10_000
WAIT_S = 1
LOG = logging.getLogger("keyfob")


class Watch:
    """Reports when the state of a session may have changed."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()
        self._types: set[str] = set()

    def notify(self, kind: str) -> None:
        """Report an event."""
        self._types.add(kind)
        self._changed.set()

    async def changes(self, timeout: float) -> set[str]:
        """The types of the events since the last call; waits for one for at most `timeout` seconds."""
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._changed.wait(), timeout)
        types, self._types = self._types, set()
        self._changed.clear()
        return types


class Feed:
    """Follows `GET /v1/feed` while there is a kept answer or a watch.

    `read(after, wait)` asks for a page. Kept answers are used for `bound` seconds after the start of a
    request that was answered up to the head of the log; with 0 none is kept.
    """

    def __init__(self, read: ReadFeed, bound: float) -> None:
        self._read = read
        self._bound = bound
        self._answers = Answers()
        self._watches: dict[str, set[Watch]] = {}
        self._task: asyncio.Task[None] | None = None
        self._refused = False
        self._begin(0)

    def _begin(self, position: int) -> None:
        self._handled = self._floor = position
        self._latest: OrderedDict[str, int] = OrderedDict()
        self._latest_global = 0
        self._heard = float("-inf")
        self._answers.clear()

    @property
    def answers(self) -> Answers:
        """The kept answers, to drop some: what this process changed itself need not wait for its event."""
        return self._answers

    def get(self, token: str) -> Session | AccessToken | None:
        """The kept answer for a token, while the feed vouches for it."""
        now = time.monotonic()
        if now - self._heard >= self._bound:
            return None
        return self._answers.get(token, now)

    def keep(
        self, token: str, answer: Session | AccessToken, session_id: str | None, lifetime: float
    ) -> None:
        """Keeps an answer for at most `lifetime` seconds, unless a later event about it was handled."""
        if self._bound <= 0 or self._refused or lifetime <= 0:
            return
        position, begun = answer.moment.position, answer.moment.local
        self._ensure(position)
        if self._is_latest(session_id, position):
            self._answers.put(token, Kept(answer, session_id, position, begun + lifetime))

    @contextmanager
    def watch(self, session: Session) -> Generator[Watch, None, None]:
        """Reports the events about a session that are later than the answer at hand."""
        watch = Watch()
        self._watches.setdefault(session.id, set()).add(watch)
        if not self._refused:
            self._ensure(session.moment.position)
        if not self._is_latest(session.id, session.moment.position):
            watch.notify("missed")
        try:
            yield watch
        finally:
            watches = self._watches[session.id]
            watches.discard(watch)
            if not watches:
                del self._watches[session.id]

    def close(self) -> None:
        """Ends the feed; it starts again when it is needed."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
        self._begin(0)

    def _ensure(self, position: int) -> None:
        if self._task is None:
            self._begin(position)
            self._task = asyncio.get_running_loop().create_task(self._follow(), name="keyfob feed")

    def _is_latest(self, session_id: str | None, position: int) -> bool:
        latest = self._latest_global if session_id is None else self._latest.get(session_id, 0)
        return position >= max(self._floor, latest, self._latest_global)

    async def _follow(self) -> None:
        try:
            while True:
                await self._page()
                self._answers.drop_expired(time.monotonic())
                if not self._watches and not len(self._answers):
                    return
        except (Misconfigured, Refused) as error:
            self._refused = True
            LOG.error("keyfob feed: %s. No answer is kept, and open WebSockets are only rechecked", error)
        finally:
            if self._task is asyncio.current_task():
                self._task = None
                self._begin(0)

    async def _page(self) -> None:
        """Reads one page, applies it, and notes that the feed was heard."""
        begun = time.monotonic()
        current = begun - self._heard < max(self._bound, 2 * WAIT_S)
        try:
            page = await self._read(self._handled, WAIT_S if current else 0)
        except Unavailable:
            await asyncio.sleep(0.2)
            return
        except Refused as error:
            if error.problem.status != 410:
                raise
            LOG.warning(
                "keyfob feed: %s. All kept answers are dropped, and the feed starts at its head", error
            )
            page = await self._restart()
        for item in page["items"]:
            self._handle(int(item["cursor"]), item["type"], item.get("session_id"))
        self._handled = int(page["next"])
        if self._handled >= int(page["head"]):
            self._heard = begun

    async def _restart(self) -> dict[str, Any]:
        """Starts at the head: the position is older than the retention, or from before a restore (410)."""
        self._begin(0)
        while True:
            try:
                page = await self._read(None, 0)
                break
            except Unavailable:
                await asyncio.sleep(0.2)
        head = page["head"]
        self._begin(int(head))
        self._notify_all("restarted")
        return {"items": (), "next": head, "head": head}

    def _handle(self, position: int, kind: str, session_id: str | None) -> None:
        if session_id is None:  # a client, a key, all sessions
            self._latest_global = position
            self._answers.clear()
            self._notify_all(kind)
            return
        self._latest[session_id] = position
        self._latest.move_to_end(session_id)
        if len(self._latest) > LATEST_MAX:
            self._floor = max(self._floor, self._latest.popitem(last=False)[1])
        self._answers.drop_session(session_id, position)
        for watch in self._watches.get(session_id, ()):
            watch.notify(kind)

    def _notify_all(self, kind: str) -> None:
        for watches in self._watches.values():
            for watch in watches:
                watch.notify(kind)
