"""`Keyfob`: the client with dependencies, cookies and WebSockets for FastAPI."""

import ipaddress
import logging
import os
import re
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from typing import Annotated, Any, Literal, cast, overload
from urllib.parse import parse_qs

from fastapi import APIRouter, FastAPI, Security
from starlette.exceptions import HTTPException, WebSocketException
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.websockets import WebSocket

from .._client import Client
from .._errors import KeyfobError, Misconfigured, Refused, Unavailable
from .._models import AccessToken, Device, Issued, Session
from ._demand import Demand
from ._install import install
from ._middleware import SIGNED_OUT, TRY_AGAIN, Outgoing, Socket
from ._origin import SAFE_METHODS, is_same_site, normalize
from ._refusals import ToPage, cross_site, is_page, not_signed_in
from ._router import make_router
from ._schemes import BearerScheme, CookieScheme, Dependency, bearer_token

LOG = logging.getLogger("keyfob")
ENDS = frozenset(("session.ended", "session.expired"))
_ANSWERS = "keyfob.answers"
FORM_BYTES_MAX = 64 * 1024
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class Keyfob(Client):
    """keyfob for one FastAPI application. Making it reads no environment and needs no server.

    `audience` is what access tokens must be for; by default what this client `serves` decides alone.
    `origins` are further origins whose pages may change something (or `KEYFOB_ORIGINS`, separated by spaces).
    Pages of people who are not signed in are sent to `login_url?next=…`, or to `step_up_url?next=…` where
    a stronger or more recent authentication is needed; None answers 401 there too. `cookie` is the server's
    `[cookie] name`. The other arguments are those of `keyfob.Client`.

    The dependencies answer 401, 403 or a redirect by themselves; an outage is 503, and never 401.
    """

    def __init__(
        self,
        url: str | None = None,
        client_id: str | None = None,
        client_secret: str | None = None,
        *,
        audience: str | None = None,
        origins: Sequence[str] = (),
        login_url: str | None = "/login",
        step_up_url: str | None = "/step-up",
        cookie: str = "__Host-keyfob",
        cache: float | None = None,
        touch: float = 30.0,
        timeout: float = 2.0,
        connections: int = 64,
    ) -> None:
        super().__init__(
            url,
            client_id,
            client_secret,
            cache=cache,
            touch=touch,
            timeout=timeout,
            connections=connections,
        )
        self._audience = audience
        self._given_origins = tuple(origins)
        self._login_url = login_url
        self._step_up_url = step_up_url
        self._cookie = cookie
        self._dependencies: dict[tuple[object, ...], Any] = {}

    def install(self, app: FastAPI) -> None:
        """Sets cookies on all answers, answers 503 for an outage, documents refusals; closes at the end.

        Needed for `sign_in`, `step_up`, `sign_out` and `websocket`. Call it where the application is made.
        """
        install(app, self.aclose)

    def router(self, *, token_endpoint: bool = False) -> APIRouter:
        """Routes for pages with scripts: `GET` and `DELETE /session`, `/session/devices` and `…/{id}`.

        With `token_endpoint` also `POST /oauth2/token`, where public clients refresh their tokens.
        """
        refresh = self.answer_refresh if token_endpoint else None
        return make_router(self, self.session(), self.session(touch=False), self.sign_out, refresh)

    # Dependencies. The same arguments give the same function: for `dependency_overrides`, and one question
    # a request.

    @overload
    def session(
        self,
        *,
        optional: Literal[False] = False,
        acr: str | None = None,
        max_age: int | None = None,
        scopes: Sequence[str] = (),
        touch: bool = True,
    ) -> Dependency[Session]: ...
    @overload
    def session(
        self,
        *,
        optional: Literal[True],
        acr: str | None = None,
        max_age: int | None = None,
        scopes: Sequence[str] = (),
        touch: bool = True,
    ) -> Dependency[Session | None]: ...
    def session(
        self,
        *,
        optional: bool = False,
        acr: str | None = None,
        max_age: int | None = None,
        scopes: Sequence[str] = (),
        touch: bool = True,
    ) -> Dependency[Session] | Dependency[Session | None]:
        """The session of the browser that sends the request, by its cookie.

        `acr` (one of several, separated by spaces) and `max_age` in seconds ask for a step-up. With
        `optional` a visitor without a session is None. `touch=False` is for requests that pages send by
        themselves: they do not count as activity.
        """
        demand = Demand(acr, max_age, tuple(scopes))

        async def session(request: Request) -> Session | None:
            found = await self._session_of(request, touch=touch)
            if found is None and not optional:
                raise self._not_signed_in(request)
            return found and self._admit(request, found, demand)

        made = CookieScheme(self._cookie, session)
        return cast("Dependency[Session]", self._same("session", optional, demand, touch, make=made))

    def token(self, *scopes: str) -> Dependency[AccessToken]:
        """The access token in `Authorization: Bearer`, with all `scopes`.

        `Security(auth.token(), scopes=[…])` asks for scopes too.
        """

        def find(request: Request, required: Sequence[str]) -> Coroutine[Any, Any, AccessToken]:
            return self._token_of(request, bearer_token(request), Demand(None, None, tuple(required)))

        scheme: Any = BearerScheme(find)
        admitted = Security(scheme, scopes=list(scopes))

        async def token(found: Annotated[AccessToken, admitted]) -> AccessToken:
            """Only for the document: it names scopes. Without them one dependency is enough."""
            return found

        made = token if scopes else scheme
        return cast("Dependency[AccessToken]", self._same("token", scopes, make=made))

    def principal(
        self, *scopes: str, acr: str | None = None, max_age: int | None = None
    ) -> Dependency[Session | AccessToken]:
        """An access token, or without one the session of the browser, with all `scopes`."""
        demand = Demand(acr, max_age, scopes)

        async def of_bearer(request: Request, _: Sequence[str]) -> str | None:
            return bearer_token(request)

        async def of_cookie(request: Request) -> None:
            """Only for the document: a token comes first."""

        bearer_scheme = Security(BearerScheme(of_bearer), scopes=list(scopes))
        cookie_scheme = Security(CookieScheme(self._cookie, of_cookie))

        async def principal(
            request: Request, _: Annotated[None, cookie_scheme], bearer: Annotated[str | None, bearer_scheme]
        ) -> Session | AccessToken:
            if bearer is not None:
                return await self._token_of(request, bearer, demand)
            found = await self._session_of(request)
            if found is None:
                raise self._not_signed_in(request)
            return self._admit(request, found, demand)

        made = self._same("principal", demand, make=principal)
        return cast("Dependency[Session | AccessToken]", made)

    def websocket(self, *, recheck: float = 30.0) -> Dependency[Session]:
        """The session of the browser that opens a WebSocket, which is closed with 4401 when the session ends.

        The end arrives by keyfob's feed within milliseconds; every `recheck` seconds keyfob is asked as well.
        A visitor without a session gets 4401 at once, and 1013 in an outage; another site's page gets 403.
        After the close `receive` and `send` raise `WebSocketDisconnect(4401)`. An open WebSocket does not
        count as activity.
        """

        async def websocket(websocket: WebSocket) -> Session:
            socket = Socket.of(websocket)
            try:
                found = await self._session_of(websocket)
            except Unavailable:
                raise WebSocketException(TRY_AGAIN, "try again later") from None
            if found is None:
                raise WebSocketException(SIGNED_OUT, "sign in first")
            socket.guard(self._watch(found, socket, recheck))
            return found

        return cast("Dependency[Session]", self._same("websocket", recheck, make=websocket))

    # Changes

    async def sign_in(
        self,
        request: Request,
        subject: str,
        *,
        label: str | None = None,
        remember: bool = False,
        acr: str | None = None,
        amr: Iterable[str] = (),
        claims: Mapping[str, Any] | None = None,
        data: Mapping[str, Any] | None = None,
    ) -> Session:
        """Opens a session for a subject whom the application has authenticated, and sets its cookie.

        The cookie is on every answer of this request. A session that the browser already had is ended. A
        POST from another site, which could sign a visitor in as another user, is refused (403). The GET that
        an identity provider redirects to is not: there `state` protects the visitor.

        Raises `Refused` and `Conflict` as `Client.open` does.
        """
        outgoing = self._changing(request)
        device = Device(label, *_visitor(request))
        await self._end_cookie(request)  # first: it may be the one that is too many
        issued = await self.open(
            subject, device=device, remember=remember, acr=acr, amr=amr, claims=claims, data=data
        )
        self._set_cookie(outgoing, issued)
        return issued.session

    async def step_up(
        self, request: Request, session: Session, *, acr: str | None, amr: Iterable[str] = ()
    ) -> Session:
        """Records that the subject of a session authenticated again, and sets the new cookie.

        Raises `Refused` if the session is not active any more.
        """
        outgoing = self._changing(request)
        issued = await self.renew(session, acr=acr, amr=amr)
        self._set_cookie(outgoing, issued)
        return issued.session

    async def sign_out(self, request: Request) -> None:
        """Ends the session of the browser, if it has one, and deletes its cookie."""
        outgoing = self._changing(request)
        await self._end_cookie(request)
        outgoing.set_cookie(f"{self._cookie}=; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=0")

    async def answer_refresh(self, request: Request) -> Response:
        """Answers the token request of a public client, such as a mobile application, by asking keyfob.

        Only for `grant_type=refresh_token`. The address of the client is passed on, so that failed attempts
        count for it, if keyfob's `trusted_proxies` names this machine.
        """
        form = parse_qs(await _body(request), keep_blank_values=True)
        if form.get(b"grant_type") != [b"refresh_token"] or b"client_secret" in form:
            error = {
                "error": "unsupported_grant_type",
                "error_description": "only public clients refresh here",
            }
            return JSONResponse(error, 400, {"Cache-Control": "no-store"})
        fields = {
            name.decode(errors="replace"): values[-1].decode(errors="replace")
            for name, values in form.items()
        }
        headers = {"Authorization": None, "X-Forwarded-For": _address(request)}
        answer = await self._send("POST", "/oauth2/token", form=fields, headers=headers)
        kind = answer.header(b"content-type").decode("latin-1") or "application/json"
        return Response(answer.body, answer.status, {"Cache-Control": "no-store"}, kind)

    def _changing(self, request: Request) -> Outgoing:
        """Before a change: the cookie can be set, and the request comes from this site."""
        outgoing = Outgoing.of(request)
        self._need_same_site(request)
        return outgoing

    def _set_cookie(self, outgoing: Outgoing, issued: Issued) -> None:
        name = issued.set_cookie.partition("=")[0]
        if name != self._cookie:
            raise Misconfigured(
                f"the server's [cookie] name is {name}, and Keyfob(cookie=) is {self._cookie}"
            )
        outgoing.set_cookie(issued.set_cookie)

    async def _end_cookie(self, request: Request) -> None:
        cookie = request.cookies.get(self._cookie, "")
        request.scope.pop(_ANSWERS, None)
        if cookie.startswith("kfs_"):
            with suppress(Refused):  # it is not this client's
                await self.revoke(cookie)

    # Questions

    async def _session_of(self, connection: HTTPConnection, *, touch: bool = True) -> Session | None:
        cookie = connection.cookies.get(self._cookie)
        if not cookie:
            return None
        self._need_same_site(connection)
        answers = connection.scope.setdefault(_ANSWERS, {})
        key = self, cookie, touch
        if key not in answers:
            answers[key] = await self.check(cookie, touch=touch)
        return cast("Session | None", answers[key])

    async def _token_of(self, request: Request, bearer: str | None, demand: Demand) -> AccessToken:
        answers: dict[object, AccessToken | None] = request.scope.setdefault(_ANSWERS, {})
        key = self, bearer
        if bearer and key not in answers:
            answers[key] = await self.introspect(bearer)
        found = answers.get(key)
        if found is None or (self._audience is not None and self._audience != found.audience):
            raise not_signed_in("invalid_token" if bearer is not None else None)
        if refusal := demand.refusal(found):
            raise refusal
        return found

    def _admit(self, request: Request, found: Session, demand: Demand) -> Session:
        refusal = demand.refusal(found)
        if refusal is None:
            return found
        if self._step_up_url and is_page(request) and demand.needs_step_up(found):
            raise ToPage(request, self._step_up_url)
        raise refusal

    def _not_signed_in(self, request: Request) -> HTTPException:
        if self._login_url and is_page(request) and bearer_token(request) is None:
            return ToPage(request, self._login_url)
        return not_signed_in("invalid_token" if self._cookie in request.cookies else None)

    def _need_same_site(self, connection: HTTPConnection) -> None:
        """A page of another site can cause every request but reads nothing: only changes are checked."""
        method = connection.scope.get("method", "WebSocket")
        if method in SAFE_METHODS or is_same_site(connection, self._origins):
            return
        if connection.scope["type"] == "websocket":
            LOG.warning(
                "a WebSocket from another origin was refused; see Keyfob(origins=...) or KEYFOB_ORIGINS"
            )
            raise WebSocketException(1008, "another origin")
        raise cross_site()

    @cached_property
    def _origins(self) -> frozenset[str]:
        given = self._given_origins or os.environ.get("KEYFOB_ORIGINS", "").replace(",", " ").split()
        return frozenset(map(normalize, given))

    async def _watch(self, session: Session, socket: Socket, recheck: float) -> None:
        """Ends a WebSocket with its session."""
        with self._loop.feed.watch(session) as watch:
            while not (await watch.changes(recheck) & ENDS):
                try:
                    found = await self.read(session.id)
                except KeyfobError as error:  # nothing is known
                    LOG.warning("a WebSocket could not be rechecked, and stays open: %s", error)
                    continue
                if found is None or not found.is_active:
                    break
        await socket.end(SIGNED_OUT)

    def _same(self, *key: object, make: Any) -> Any:
        return self._dependencies.setdefault(key, make)


def _visitor(request: Request) -> tuple[str | None, str | None]:
    """The `User-Agent` and the address, as keyfob takes them."""
    agent = _CONTROLS.sub("", request.headers.get("user-agent", ""))[:512]
    return agent or None, _address(request)


def _address(request: Request) -> str | None:
    with suppress(ValueError):
        return str(ipaddress.ip_address(request.client.host)) if request.client else None
    return None


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > FORM_BYTES_MAX:
            raise HTTPException(413, "The form is too large")
    return bytes(body)
