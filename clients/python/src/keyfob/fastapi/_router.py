"""The routes of `Keyfob.router`."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Request, Response

from .._client import Client
from .._models import Session
from ._schemes import Dependency


@dataclass(frozen=True)
class SessionView:
    """A session, as its own subject sees it."""

    id: str
    subject: str
    current: bool
    """Whether it is the session of this browser."""
    label: str | None
    user_agent: str | None
    acr: str | None
    authenticated_at: datetime
    last_used_at: datetime | None
    idle_expires_at: datetime
    expires_at: datetime

    @classmethod
    def of(cls, session: Session, current: Session) -> "SessionView":
        """A session beside the one of the browser."""
        return cls(
            session.id,
            session.subject,
            session.id == current.id,
            session.device.label,
            session.device.user_agent,
            session.acr,
            session.authenticated_at,
            session.last_used_at,
            session.idle_expires_at,
            session.expires_at,
        )


@dataclass(frozen=True)
class EndedView:
    """How many sessions were ended."""

    ended: int


def make_router(
    client: Client,
    own: Dependency[Session],
    seen: Dependency[Session],
    end_own: Callable[[Request], Awaitable[None]],
    answer_refresh: Callable[[Request], Awaitable[Response]] | None,
) -> APIRouter:
    """One's own session, one's devices, and the refresh of public clients. `seen` is no activity."""
    routes = APIRouter(tags=["session"])

    @routes.get("/session")
    async def read_session(session: Annotated[Session, Depends(seen)]) -> SessionView:
        """Read one's own session. Does not count as activity, so that a page may ask regularly."""
        return SessionView.of(session, session)

    @routes.delete("/session", status_code=204)
    async def sign_out(request: Request) -> None:
        """Sign out."""
        await end_own(request)

    @routes.get("/session/devices")
    async def read_devices(session: Annotated[Session, Depends(seen)]) -> list[SessionView]:
        """List the sessions of the same subject."""
        return [SessionView.of(one, session) for one in await client.sessions(session.subject)]

    @routes.delete("/session/devices")
    async def end_other_devices(session: Annotated[Session, Depends(own)]) -> EndedView:
        """Sign out everywhere else."""
        return EndedView(await client.end_all(session.subject, keep=session))

    @routes.delete("/session/devices/{session_id}", status_code=204)
    async def end_device(session_id: str, session: Annotated[Session, Depends(own)]) -> None:
        """Sign out one device of the same subject."""
        if not await client.end(session_id, subject=session.subject):
            raise HTTPException(404, "There is no such session")

    if answer_refresh is not None:
        form = {"application/x-www-form-urlencoded": {"schema": {"type": "object"}}}

        @routes.post("/oauth2/token", openapi_extra={"requestBody": {"content": form}})
        async def refresh(request: Request) -> Response:
            """Exchange the refresh token of a public client (RFC 6749 §6)."""
            return await answer_refresh(request)

    return routes
