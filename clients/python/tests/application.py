"""An application that uses everything of `keyfob.fastapi`; nothing in it is for tests but its routes."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

import anyio.from_thread
from fastapi import Depends, FastAPI, HTTPException, Request, Response, Security, WebSocket
from fastapi.responses import PlainTextResponse, RedirectResponse, StreamingResponse
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.websockets import WebSocketDisconnect

from keyfob.fastapi import AccessToken, Keyfob, Session, local_path


class Teapot(Exception):
    """An error of the application, with a handler."""


def make_app(auth: Keyfob, *, installed: bool = True) -> FastAPI:
    app = FastAPI()
    if installed:
        auth.install(app)
    signed_in, maybe = auth.session(), auth.session(optional=True)
    fresh, recent = auth.session(acr="aal2 aal3"), auth.session(max_age=300)

    @app.post("/login")
    async def login(request: Request, user: str, to: str = "/", remember: bool = False) -> Response:
        await auth.sign_in(request, user, acr="aal1", amr=["pwd"], label="laptop", remember=remember)
        return RedirectResponse(local_path(to), 303)

    @app.get("/callback")
    async def callback(request: Request) -> str:
        """Where an identity provider sends the browser; `state` would be checked here."""
        return (await auth.sign_in(request, "alice")).subject

    @app.post("/login-in-a-thread")
    def login_in_a_thread(request: Request, user: str) -> str:
        return anyio.from_thread.run(auth.sign_in, request, user).subject

    @app.post("/login-and/{what}")
    async def login_and(request: Request, what: str) -> Response:
        await auth.sign_in(request, "alice")
        if what == "raise":
            raise HTTPException(418, "no")
        if what == "handled":
            raise Teapot

        async def parts() -> AsyncIterator[bytes]:
            for part in (b"a", b"b"):
                yield part

        return StreamingResponse(parts(), headers={"cache-control": "max-age=60"})

    @app.post("/too-late")
    async def too_late(request: Request) -> Response:
        async def parts() -> AsyncIterator[bytes]:
            yield b"a"
            try:
                await auth.sign_in(request, "alice")
            except RuntimeError as error:
                yield str(error).encode()

        return StreamingResponse(parts())

    @app.exception_handler(Teapot)
    async def teapot(request: Request, error: Exception) -> Response:
        return PlainTextResponse("short and stout", 418)

    @app.post("/step-up")
    async def step_up(request: Request, session: Annotated[Session, Depends(signed_in)]) -> str:
        return (await auth.step_up(request, session, acr="aal2", amr=["otp"])).id

    @app.post("/logout")
    async def logout(request: Request) -> Response:
        await auth.sign_out(request)
        return RedirectResponse("/", 303)

    @app.get("/")
    async def home(session: Annotated[Session, Depends(signed_in)]) -> str:
        return session.subject

    @app.get("/maybe")
    async def perhaps(session: Annotated[Session | None, Depends(maybe)]) -> str:
        return session.subject if session else "a visitor"

    @app.post("/change")
    async def change(session: Annotated[Session, Depends(signed_in)]) -> str:
        return session.subject

    @app.get("/secret")
    async def secret(session: Annotated[Session, Depends(fresh)]) -> str:
        return session.subject

    @app.get("/recent")
    async def recently(
        session: Annotated[Session, Depends(recent)], same: Annotated[Session, Depends(signed_in)]
    ) -> bool:
        return session is same

    @app.get("/api/orders")
    async def orders(token: Annotated[AccessToken, Depends(auth.token("read"))]) -> str:
        return token.subject

    @app.post("/api/orders")
    async def order(token: Annotated[AccessToken, Security(auth.token(), scopes=["write"])]) -> str:
        return token.subject

    @app.delete("/api/orders")
    async def cancel(token: Annotated[AccessToken, Depends(auth.token("delete"))]) -> str:
        return token.subject

    @app.post("/either")
    async def either(who: Annotated[Session | AccessToken, Depends(auth.principal("read"))]) -> str:
        return f"{type(who).__name__} of {who.subject}"

    @app.get("/either-fresh")
    async def either_fresh(who: Annotated[Session | AccessToken, Depends(auth.principal(acr="aal2"))]) -> str:
        return who.subject

    @app.get("/sessions/{subject}")
    async def sessions(subject: str) -> int:
        return len(await auth.sessions(subject))

    @app.websocket("/ws")
    async def ws(websocket: WebSocket, session: Annotated[Session, Depends(auth.websocket())]) -> None:
        await websocket.accept()
        await websocket.send_text(session.subject)
        try:
            while True:
                await websocket.send_text(await websocket.receive_text())
        except WebSocketDisconnect as error:
            app.state.closed_with = error.code

    @app.websocket("/ticker")
    async def ticker(websocket: WebSocket, session: Annotated[Session, Depends(auth.websocket())]) -> None:
        """Only sends: it learns of the end by its next message."""
        await websocket.accept()
        try:
            while True:
                await websocket.send_text("tick")
                await asyncio.sleep(0.01)
        except WebSocketDisconnect as error:
            app.state.closed_with = error.code

    app.include_router(auth.router(token_endpoint=True), prefix="/me")
    return app


class Slow(BaseHTTPMiddleware):
    """The middleware that most applications have one of."""

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        response = await call_next(request)
        response.headers["x-slow"] = "1"
        return response
