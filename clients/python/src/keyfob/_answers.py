"""Kept answers: a bounded LRU of what keyfob said of tokens, with an index by session. It holds no token."""

from __future__ import annotations

from collections import OrderedDict
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from ._models import AccessToken, Session

ANSWERS_MAX = 10_000


class Kept(NamedTuple):
    """An answer, the position in the event log at which it was true, and when it is no longer used."""

    answer: Session | AccessToken
    session_id: str | None
    position: int
    until: float


class Answers:
    """The kept answers of one event loop."""

    def __init__(self, limit: int = ANSWERS_MAX) -> None:
        self._limit = limit
        self._kept: OrderedDict[bytes, Kept] = OrderedDict()
        self._of_session: dict[str, set[bytes]] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, token: str, now: float) -> Session | AccessToken | None:
        """The kept answer for a token at the monotonic time `now`."""
        key = _key(token)
        kept = self._kept.get(key)
        if kept is None:
            return None
        if kept.until <= now:
            self._drop(key)
            return None
        self._kept.move_to_end(key)
        return kept.answer

    def put(self, token: str, kept: Kept) -> None:
        """Keeps an answer, at the cost of the one that was unused for the longest time."""
        key = _key(token)
        self._drop(key)
        while len(self._kept) >= self._limit:
            self._drop(next(iter(self._kept)))
        self._kept[key] = kept
        if kept.session_id is not None:
            self._of_session.setdefault(kept.session_id, set()).add(key)

    def drop_token(self, token: str) -> None:
        """Drops the answer for one token."""
        self._drop(_key(token))

    def drop_session(self, session_id: str, position: int | None = None) -> None:
        """Drops the answers about a session: all, or those that were true before `position`."""
        for key in tuple(self._of_session.get(session_id, ())):
            if position is None or self._kept[key].position < position:
                self._drop(key)

    def drop_subject(self, subject: str) -> None:
        """Drops the answers about a subject."""
        for key in [key for key, kept in self._kept.items() if kept.answer.subject == subject]:
            self._drop(key)

    def drop_expired(self, now: float) -> None:
        """Drops the answers whose time is up."""
        for key in [key for key, kept in self._kept.items() if kept.until <= now]:
            self._drop(key)

    def clear(self) -> None:
        """Drops all answers."""
        self._kept.clear()
        self._of_session.clear()

    def _drop(self, key: bytes) -> None:
        kept = self._kept.pop(key, None)
        if kept is not None and kept.session_id is not None:
            keys = self._of_session[kept.session_id]
            keys.discard(key)
            if not keys:
                del self._of_session[kept.session_id]


def _key(token: str) -> bytes:
    return sha256(token.encode("utf-8", "surrogatepass")).digest()
