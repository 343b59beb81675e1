"""The synchronous client, for scripts and for Flask and Django views: the same core, in a thread."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import TYPE_CHECKING, Any, TypeVar

from ._client import Client as AsyncClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping
    from datetime import datetime
    from types import TracebackType

    from typing_extensions import Self

    from ._models import AccessToken, Data, Device, Event, Issued, Session, Tokens
    from ._tokens import TokenSource as AsyncTokenSource

T = TypeVar("T")


class Client:
    """`keyfob.Client` for code that is not asynchronous: the same arguments, methods, answers and errors.

    Any thread may use it. An event loop runs in a background thread from the first call on; a forked process
    gets one of its own.
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
        self._client = AsyncClient(
            url,
            client_id,
            client_secret,
            cache=cache,
            touch=touch,
            timeout=timeout,
            connections=connections,
        )
        self._thread: LoopThread | None = None
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"keyfob.sync.{self._client!r}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections and ends the thread; a later call starts it again."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None and thread.process == os.getpid():
            thread.stop()

    def check(self, session_token: str, *, touch: bool = True) -> Session | None:
        """See `keyfob.Client.check`."""
        return self._run(self._client.check(session_token, touch=touch))

    def introspect(self, access_token: str) -> AccessToken | None:
        """See `keyfob.Client.introspect`."""
        return self._run(self._client.introspect(access_token))

    def read(self, session_id: str) -> Session | None:
        """See `keyfob.Client.read`."""
        return self._run(self._client.read(session_id))

    def sessions(self, subject: str, *, state: str | None = "active") -> list[Session]:
        """See `keyfob.Client.sessions`."""
        return self._run(self._client.sessions(subject, state=state))

    def open(
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
        """See `keyfob.Client.open`."""
        return self._run(
            self._client.open(
                subject,
                client_id=client_id,
                scopes=scopes,
                audience=audience,
                acr=acr,
                amr=amr,
                auth_time=auth_time,
                device=device,
                claims=claims,
                data=data,
                remember=remember,
            )
        )

    def renew(
        self,
        session: Session | str,
        *,
        acr: str | None = None,
        amr: Iterable[str] = (),
        auth_time: datetime | None = None,
    ) -> Issued:
        """See `keyfob.Client.renew`."""
        return self._run(self._client.renew(session, acr=acr, amr=amr, auth_time=auth_time))

    def refresh(self, refresh_token: str, client_id: str | None = None) -> Tokens | None:
        """See `keyfob.Client.refresh`."""
        return self._run(self._client.refresh(refresh_token, client_id))

    def end(self, session: Session | str, *, subject: str | None = None) -> bool:
        """See `keyfob.Client.end`."""
        return self._run(self._client.end(session, subject=subject))

    def end_all(self, subject: str, *, keep: Session | str | None = None, reason: str | None = None) -> int:
        """See `keyfob.Client.end_all`."""
        return self._run(self._client.end_all(subject, keep=keep, reason=reason))

    def revoke(self, token: str) -> None:
        """See `keyfob.Client.revoke`."""
        self._run(self._client.revoke(token))

    def data(self, session: Session | str) -> Data:
        """See `keyfob.Client.data`."""
        return self._run(self._client.data(session))

    def save(self, session: Session | str, value: Mapping[str, Any], *, version: int) -> Data:
        """See `keyfob.Client.save`."""
        return self._run(self._client.save(session, value, version=version))

    def own_token(self, *, audience: str | None = None, scopes: Iterable[str] | None = None) -> TokenSource:
        """See `keyfob.Client.own_token`."""
        return TokenSource(self._run, self._client.own_token(audience=audience, scopes=scopes))

    def events(self, *, after: str | None = None) -> Iterator[Event]:
        """See `keyfob.Client.events`."""
        return self._iterate(self._client.events(after=after))

    def feed(self, *, after: str | None = None, since: int | None = None) -> Iterator[Event]:
        """See `keyfob.Client.feed`."""
        return self._iterate(self._client.feed(after=after, since=since))

    def _iterate(self, events: AsyncIterator[Event]) -> Iterator[Event]:
        async def step() -> Event | None:
            return await anext(events, None)

        while (event := self._run(step())) is not None:
            yield event

    def _run(self, call: Coroutine[Any, Any, T]) -> T:
        with self._lock:
            if self._thread is None or self._thread.process != os.getpid():
                self._thread = LoopThread()
            thread = self._thread
        return thread.run(call)


class TokenSource:
    """See `keyfob.TokenSource`: call it to get a valid access token."""

    def __init__(self, run: Callable[[Coroutine[Any, Any, str]], str], source: AsyncTokenSource) -> None:
        self._run = run
        self._source = source

    def __call__(self) -> str:
        """A valid access token."""
        return self._run(self._source())


class LoopThread:
    """An event loop in a daemon thread of this process."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="keyfob", daemon=True)
        self._thread.start()

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        """Runs a call to its end, and cancels it if the waiting thread is interrupted."""
        future = asyncio.run_coroutine_threadsafe(call, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def stop(self) -> None:
        """Cancels what runs, closes the connections and ends the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
            tasks = asyncio.all_tasks(self._loop)
            for task in tasks:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
        finally:
            self._loop.close()
