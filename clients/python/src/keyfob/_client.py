"""The asynchronous client."""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import time
from functools import cached_property, partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode
from weakref import WeakKeyDictionary

from . import _requests as http
from ._errors import Refused
from ._loop import LoopState
from ._models import AccessToken, Data, Event, Issued, Json, Moment, Session, Tokens, instant
from ._settings import Settings
from ._tokens import TokenSource
from ._version import __version__

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping
    from datetime import datetime
    from types import TracebackType

    from typing_extensions import Self

    from ._http import Answer
    from ._models import Device

LONG_POLL_S = 20
CACHE_S_MIN = 3
_SESSION_TOKEN = re.compile(r"kfs_[A-Za-z0-9_-]{1,256}")
_ACCESS_TOKEN = re.compile(r"(?!kf[sr]_)[A-Za-z0-9._~+/=-]{1,16384}")
_NO_SUCH_ID = (400, 404)  # 400: it does not have the form of an id


class Client:
    """Asks keyfob, and changes sessions; with a pool of connections for each event loop.

    `url`, `client_id` and `client_secret` default to `KEYFOB_URL`, `KEYFOB_CLIENT_ID` and
    `KEYFOB_CLIENT_SECRET`, which are read at first use. `timeout` seconds cover a whole call: the wait for
    one of the `connections`, connecting, and a retry.

    `cache=3` keeps answers about valid tokens, each for at most `touch` seconds, until an event in keyfob's
    feed concerns them. They are used only while the feed was heard in the last `cache` seconds. So the end of
    a session is seen within milliseconds, and at the latest after `cache` seconds, even if keyfob or the
    network fails. Over PostgreSQL the bound is `cache` plus the server's `max_staleness`.

    Every method may raise `Unavailable` (nothing is known: answer 503) and `Misconfigured` (an operator has
    to fix it). `None` always means: not valid.
    """

    def __init__(
        self,
        url: str | None = None,
        client_id: str | None = None,
        client_secret: str | None = None,
        *,
        cache: float | None = None,
        touch: float = 30.0,
        timeout: float = 2.0,
        connections: int = 64,
    ) -> None:
        if cache is not None and cache < CACHE_S_MIN:
            raise ValueError(f"cache: {cache} seconds are too few; give {CACHE_S_MIN} or more, or None")
        if touch < 0 or timeout <= 0 or connections < 1:
            raise ValueError("touch must not be negative; timeout and connections must be positive")
        self._given = url, client_id, client_secret
        self._cache = cache or 0.0
        self._touch = touch
        self._timeout = timeout
        self._connections = connections
        self._loops: WeakKeyDictionary[asyncio.AbstractEventLoop, LoopState] = WeakKeyDictionary()
        self._latest: LoopState | None = None
        self._refreshes: dict[bytes, asyncio.Task[Tokens | None]] = {}

    def __repr__(self) -> str:
        return f"{type(self).__name__}(url={self._given[0]!r}, client_id={self._given[1]!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Closes what belongs to the running event loop; a later call opens it again."""
        state = self._loops.get(asyncio.get_running_loop())
        if state is not None:
            await state.close()

    # Questions

    async def check(self, session_token: str, *, touch: bool = True) -> Session | None:
        """The session of a session token (`kfs_…`, the value of the cookie), or None if it is not valid.

        Counts as activity, which restarts the idle timeout, unless `touch` is false. Kept answers delay that,
        by a tenth of the idle timeout at most.
        """
        if self._cache and isinstance(kept := self._loop.feed.get(session_token), Session):
            return kept
        if not _SESSION_TOKEN.fullmatch(session_token):
            return None
        state = self._loop
        feed = state.feed
        begun = time.monotonic()
        # A token of this form needs no escaping.
        question = '{"token":"%s"}' if touch else '{"token":"%s","touch":false}'
        request = http.with_body(self._check_head, (question % session_token).encode())
        answer = await state.pool.request(request, self._timeout, retry=True)
        value = http.read(answer)
        if not http.is_active(value) or value["token"]["kind"] != "session":
            feed.answers.drop_token(session_token)
            return None
        found = value["session"]
        moment = partial(_moment, answer, begun, value["feed_seq"], found.get("last_used_at"))
        found["scope"] = value["token"].get("scope", found.get("scope"))  # may be narrower than the session's
        session = Session.of(found, moment)
        if self._cache and touch:
            now = session.moment.server
            idle = session.idle_expires_at.timestamp() - now
            lifetime = min(self._touch, idle / 10, session.expires_at.timestamp() - now - 1)
            feed.keep(session_token, session, session.id, lifetime)
        return session

    async def introspect(self, access_token: str) -> AccessToken | None:
        """What a valid access token grants (RFC 7662), or None: also if it is for another audience.

        Does not count as activity. Refresh and session tokens are no access tokens, so that they answer None.
        """
        if self._cache and isinstance(kept := self._loop.feed.get(access_token), AccessToken):
            return kept
        if not _ACCESS_TOKEN.fullmatch(access_token):
            return None
        state = self._loop
        feed = state.feed
        begun = time.monotonic()
        # No other character of a token needs escaping, and quote_plus is slow.
        escaped = access_token.replace("+", "%2B").replace("/", "%2F").replace("=", "%3D")
        request = http.with_body(self._introspect_head, b"token=%b" % escaped.encode())
        answer = await state.pool.request(request, self._timeout, retry=True)
        value = http.read(answer)
        if not http.is_active(value) or value.get("token_type") != "Bearer":
            feed.answers.drop_token(access_token)
            return None
        token = AccessToken.of(value, partial(_moment, answer, begun, value.get("feed_seq", "0")))
        if self._cache:
            lifetime = min(self._touch, token.expires_at.timestamp() - token.moment.server - 1)
            feed.keep(access_token, token, token.session_id, lifetime)
        return token

    async def read(self, session_id: str) -> Session | None:
        """A session by its id, in any state; None if there is none, or it is not this client's."""
        begun = time.monotonic()
        answer = await self._send("GET", http.path("v1", "sessions", session_id))
        if answer.status in _NO_SUCH_ID:
            return None
        return Session.of(http.read(answer), partial(_moment, answer, begun))

    async def sessions(self, subject: str, *, state: str | None = "active") -> list[Session]:
        """The sessions of a subject; `state` is `active`, `expired`, `ended`, or None for all."""
        found: list[Session] = []
        cursor: str | None = None
        while True:
            begun = time.monotonic()
            query = {"subject": subject, "state": state, "limit": 200, "cursor": cursor}
            answer = await self._send("GET", http.with_query("/v1/sessions", query))
            page = http.read(answer)
            moment = partial(_moment, answer, begun)
            found += [Session.of(item, moment) for item in page["items"]]
            cursor = page.get("next_cursor")
            if cursor is None:
                return found

    # Changes

    async def open(
        self,
        subject: str,
        *,
        client_id: str | None = None,
        scopes: Iterable[str] | None = None,
        audience: str | None = None,
        acr: str | None = None,
        amr: Iterable[str] = (),
        auth_time: datetime | None = None,
        device: Device | None = None,
        claims: Mapping[str, Any] | None = None,
        data: Mapping[str, Any] | None = None,
        remember: bool = False,
    ) -> Issued:
        """Opens a session for a subject whom the application has authenticated.

        If the answer is lost it is asked for again, and with the same `Idempotency-Key` keyfob answers with
        the same session. `client_id` opens it for another client, which must be in this one's `opens_for`.

        Raises `Refused` for values that are not valid, and `Conflict` if the subject has too many sessions.
        """
        content = http.present(
            subject=subject,
            client_id=client_id,
            scope=None if scopes is None else " ".join(scopes),
            audience=audience,
            acr=acr,
            amr=list(amr) or None,
            auth_time=None if auth_time is None else auth_time.isoformat(),
            device=(device.as_json() if device else None) or None,
            claims=claims,
            data=data,
            remember=remember or None,
        )
        key = secrets.token_urlsafe(32)
        return await self._issue("/v1/sessions", content, retry=True, headers={"Idempotency-Key": key})

    async def renew(
        self,
        session: Session | str,
        *,
        acr: str | None = None,
        amr: Iterable[str] = (),
        auth_time: datetime | None = None,
    ) -> Issued:
        """Records that the subject authenticated again (step-up); the old session token becomes invalid.

        Raises `Refused` if there is no such session, or it is no longer active.
        """
        content = http.present(
            acr=acr, amr=list(amr) or None, auth_time=None if auth_time is None else auth_time.isoformat()
        )
        session_id = _id(session)
        issued = await self._issue(http.path("v1", "sessions", session_id, "renew"), content, retry=False)
        self._loop.feed.answers.drop_session(session_id)
        return issued

    async def refresh(self, refresh_token: str, client_id: str | None = None) -> Tokens | None:
        """Exchanges a refresh token; None if it is not valid any more. Concurrent calls share one exchange.

        With the `client_id` of a public client it is exchanged on that client's behalf.

        A lost answer is asked for again: within the retry window keyfob answers with the same tokens.
        """
        key = sha256(f"{client_id}\0{refresh_token}".encode()).digest()
        task = self._refreshes.get(key)
        loop = asyncio.get_running_loop()
        if task is None or task.done() or task.get_loop() is not loop:
            task = loop.create_task(self._refresh(refresh_token, client_id))
            self._refreshes[key] = task
            task.add_done_callback(partial(self._forget_refresh, key))
        return await asyncio.shield(task)

    async def end(self, session: Session | str, *, subject: str | None = None) -> bool:
        """Ends a session; False if there is none, or it is not this client's.

        With a `subject` only a session of that subject is ended, so that an id may come from a form as it is.
        """
        session_id = _id(session)
        if subject is not None:
            found = await self.read(session_id)
            if found is None or found.subject != subject:
                return False
        answer = await self._send("DELETE", http.path("v1", "sessions", session_id))
        if answer.status in _NO_SUCH_ID:
            return False
        http.read(answer)
        self._loop.feed.answers.drop_session(session_id)
        return True

    async def end_all(
        self, subject: str, *, keep: Session | str | None = None, reason: str | None = None
    ) -> int:
        """Ends the sessions of a subject, but not `keep`; answers how many were ended."""
        query = {"subject": subject, "except": None if keep is None else _id(keep), "reason": reason}
        ended: int = http.read(await self._send("DELETE", http.with_query("/v1/sessions", query)))["ended"]
        self._loop.feed.answers.drop_subject(subject)
        return ended

    async def revoke(self, token: str) -> None:
        """Revokes a token (RFC 7009): a session token ends its session; a refresh token, its family.

        A token that is not valid is no error.
        """
        http.read(await self._send("POST", "/oauth2/revoke", form={"token": token}))
        self._loop.feed.answers.drop_token(token)

    async def data(self, session: Session | str) -> Data:
        """What the application stores in a session, with the version that `save` takes.

        Raises `Refused` if there is no such session.
        """
        value = http.read(await self._send("GET", http.path("v1", "sessions", _id(session))))
        return Data(value.get("data") or {}, value["version"])

    async def save(self, session: Session | str, value: Mapping[str, Any], *, version: int) -> Data:
        """Replaces the data of a session, if it still has the version at which it was read.

        Raises `Conflict` if it was changed since: read again, and decide again.
        """
        session_id = _id(session)
        answer = await self._send(
            "PATCH",
            http.path("v1", "sessions", session_id),
            content={"data": dict(value)},
            headers={"If-Match": f'"{version}"'},
            retry=False,
        )
        changed = http.read(answer)
        self._loop.feed.answers.drop_session(session_id)
        return Data(changed["data"], changed["version"])

    # Tokens of the client itself, and the event log

    def own_token(self, *, audience: str | None = None, scopes: Iterable[str] | None = None) -> TokenSource:
        """A source of this client's own access tokens (`client_credentials`), for calls to other services."""
        form = http.present(
            grant_type="client_credentials",
            resource=audience,
            scope=None if scopes is None else " ".join(scopes),
        )

        async def issue() -> Tokens:
            return Tokens.of(http.read(await self._send("POST", "/oauth2/token", form=form)))

        return TokenSource(issue)

    async def events(self, *, after: str | None = None) -> AsyncIterator[Event]:
        """The event log, in order and without end; needs the permission `events`.

        Without `after` it starts at the oldest event. After an error go on behind the last event's `cursor`.
        Raises `Refused` (410) if `after` is older than the retention.
        """
        while True:
            page = await self._log_page("/v1/events", after, LONG_POLL_S if after else 0)
            for item in page["items"]:
                event = Event.of(item)
                yield event
                after = event.cursor
            if after is None:
                after = page["head"]

    async def feed(self, *, after: str | None = None, since: int | None = None) -> AsyncIterator[Event]:
        """What makes kept answers and locally verified tokens invalid; needs the permission `introspect`.

        Starts behind `after`, with the last `since` seconds, or now. Raises `Refused` (410) as `events` does.
        """
        wait = 0 if after is None else LONG_POLL_S
        while True:
            page = await self._log_page("/v1/feed", after, wait, since)
            for item in page["items"]:
                yield Event.of(item)
            after, since, wait = page["next"], None, LONG_POLL_S

    # Requests

    @cached_property
    def _settings(self) -> Settings:
        return Settings.read(*self._given)

    @cached_property
    def _head(self) -> dict[str, str | None]:
        return {
            "Host": self._settings.origin.authority,
            "Authorization": self._settings.basic,
            "User-Agent": f"keyfob-python/{__version__}",
            "Accept": http.JSON,
        }

    @cached_property
    def _check_head(self) -> bytes:
        return http.head("POST", "/v1/sessions/check", {**self._head, "Content-Type": http.JSON})

    @cached_property
    def _introspect_head(self) -> bytes:
        return http.head("POST", "/oauth2/introspect", {**self._head, "Content-Type": http.FORM})

    @property
    def _loop(self) -> LoopState:
        loop, state = asyncio.get_running_loop(), self._latest
        if state is not None and state.loop is loop and state.process == os.getpid():
            return state
        state = self._loops.get(loop)
        if state is None or state.process != os.getpid():
            forget = partial(self._forget_loop, loop)
            state = LoopState(self._settings.origin, self._connections, self._read_feed, self._cache, forget)
            self._loops[loop] = state
        self._latest = state
        return state

    def _forget_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        self._latest = None
        self._loops.pop(loop, None)

    async def _read_feed(self, after: int | None, wait: int) -> Json:
        return await self._log_page("/v1/feed", None if after is None else str(after), wait)

    async def _send(
        self,
        method: str,
        target: str,
        *,
        content: Json | None = None,
        form: Mapping[str, str] | None = None,
        headers: Mapping[str, str | None] | None = None,
        retry: bool = True,
        wait: int = 0,
    ) -> Answer:
        """Sends a request; the answer may have any status. `retry` says that repeating it is safe."""
        head = self._head
        body: bytes | None = None
        if content is not None:
            body, head = json.dumps(content).encode(), {**head, "Content-Type": http.JSON}
        elif form is not None:
            body, head = urlencode(form).encode(), {**head, "Content-Type": http.FORM}
        if headers:
            head = {**head, **headers}
        state = self._loop
        pool = state.log_pool if wait else state.pool
        request = http.with_body(http.head(method, target, head), body)
        return await pool.request(request, self._timeout + wait, retry=retry)

    async def _issue(
        self, target: str, content: Json, *, retry: bool, headers: Mapping[str, str] | None = None
    ) -> Issued:
        begun = time.monotonic()
        answer = await self._send("POST", target, content=content, headers=headers, retry=retry)
        return Issued.of(http.read(answer), partial(_moment, answer, begun))

    def _forget_refresh(self, key: bytes, task: asyncio.Task[Tokens | None]) -> None:
        if self._refreshes.get(key) is task:
            del self._refreshes[key]

    async def _refresh(self, refresh_token: str, client_id: str | None) -> Tokens | None:
        form = {"grant_type": "refresh_token", "refresh_token": refresh_token}
        headers: dict[str, str | None] = {}
        if client_id is not None and client_id != self._settings.client_id:
            form["client_id"], headers["Authorization"] = client_id, None
        try:
            return Tokens.of(http.read(await self._send("POST", "/oauth2/token", form=form, headers=headers)))
        except Refused as error:
            if error.problem.code == "invalid_grant":
                return None
            raise

    async def _log_page(self, target: str, after: str | None, wait: int, since: int | None = None) -> Json:
        query = {"after": after, "since": since, "wait": wait or None, "limit": 200}
        return http.read(await self._send("GET", http.with_query(target, query), wait=wait))


def _moment(answer: Answer, begun: float, position: str = "0", at_least: str | None = None) -> Moment:
    server = http.date(answer)
    if at_least is not None:
        server = max(server, instant(at_least).timestamp())
    return Moment(server or time.time() - (time.monotonic() - begun), begun, int(position))


def _id(session: Session | str) -> str:
    return session if isinstance(session, str) else session.id
