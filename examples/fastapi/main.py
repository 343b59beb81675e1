"""A shop: pages for browsers, an API for a mobile application, and one WebSocket."""

import secrets
from pathlib import Path
from typing import Annotated

from argon2 import PasswordHasher
from argon2.exceptions import VerificationError
from fastapi import Depends, FastAPI, Form, HTTPException, Request, WebSocket
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from fastapi.templating import Jinja2Templates
from keyfob.fastapi import AccessToken, Conflict, Device, Keyfob, Session, local_path

HERE = Path(__file__).parent
app, auth = FastAPI(title="Shop"), Keyfob()
auth.install(app)
app.include_router(auth.router(token_endpoint=True))
app.mount("/static", StaticFiles(directory=HERE / "static"))
templates = Jinja2Templates(HERE / "templates")

SignedIn = Annotated[Session, Depends(auth.session())]
Visitor = Annotated[Session | None, Depends(auth.session(optional=True))]
Confirmed = Annotated[Session, Depends(auth.session(acr="aal2", max_age=300))]
Live = Annotated[Session, Depends(auth.websocket())]
OrderReader = Annotated[AccessToken, Depends(auth.token("orders:read"))]
OrderWriter = Annotated[AccessToken, Depends(auth.token("orders:write"))]

# The users of the demo. A real application has a database here, and an authenticator makes the code.
hasher = PasswordHasher()
PASSWORDS = {"alice": hasher.hash("wonderland"), "bob": hasher.hash("builder")}
UNKNOWN = hasher.hash(secrets.token_urlsafe())
CODE = "123456"
ORDERS: dict[str, list[str]] = {"alice": ["teapot"], "bob": ["hammer"]}


async def password_matches(user: str, password: str) -> bool:
    """Takes the same time whether or not there is such a user, and does not block other requests."""
    try:
        await run_in_threadpool(hasher.verify, PASSWORDS.get(user, UNKNOWN), password)
    except VerificationError:
        return False
    return user in PASSWORDS


def page(request: Request, name: str, status: int = 200, **values: object) -> HTMLResponse:
    return templates.TemplateResponse(request, f"{name}.html", values, status)


def device_name(device: Device) -> str:
    """The label, else what the `User-Agent` says of browser and system, such as `Chrome on Linux`."""
    agent = device.user_agent or ""
    browser = next((name for name in ("Firefox", "Edg", "Chrome", "Safari") if f"{name}/" in agent), "A browser")
    systems = ("iPhone", "iPad", "Android", "Windows", "Mac OS X", "Linux")
    system = next((name for name in systems if name in agent), "an unknown system")
    return device.label or f"{browser.replace('Edg', 'Edge')} on {system}"


templates.env.globals["device_name"] = device_name


def go(to: str) -> RedirectResponse:
    return RedirectResponse(to, 303)


@app.get("/", response_class=HTMLResponse)
async def home(request: Request, session: Visitor) -> Response:
    return page(request, "home", session=session)


@app.get("/login", response_class=HTMLResponse)
async def login_page(request: Request, next: str = "/") -> Response:
    return page(request, "login", next=local_path(next))


@app.post("/login")
async def login(
    request: Request,
    user: Annotated[str, Form()],
    password: Annotated[str, Form()],
    remember: Annotated[bool, Form()] = False,
    next: Annotated[str, Form()] = "/",
) -> Response:
    if not await password_matches(user, password):
        return page(request, "login", 401, next=local_path(next), error="The name or the password is wrong")
    await auth.sign_in(request, user, acr="aal1", amr=["pwd"], remember=remember)
    return go(local_path(next))


@app.get("/step-up", response_class=HTMLResponse)
async def step_up_page(request: Request, session: SignedIn, next: str = "/") -> Response:
    return page(request, "step_up", session=session, next=local_path(next))


@app.post("/step-up")
async def step_up(
    request: Request, session: SignedIn, code: Annotated[str, Form()], next: Annotated[str, Form()] = "/"
) -> Response:
    if not secrets.compare_digest(code.encode(), CODE.encode()):
        return page(request, "step_up", 401, session=session, next=local_path(next), error="The code is wrong")
    await auth.step_up(request, session, acr="aal2", amr=["pwd", "otp"])
    return go(local_path(next))


@app.post("/logout")
async def logout(request: Request) -> Response:
    await auth.sign_out(request)
    return go("/")


@app.get("/account", response_class=HTMLResponse)
async def account(request: Request, session: SignedIn) -> Response:
    return page(request, "account", session=session, devices=await auth.sessions(session.subject))


@app.post("/account/sign-out")
async def sign_out_device(session: SignedIn, device: Annotated[str, Form()]) -> Response:
    await auth.end(device, subject=session.subject)
    return go("/account")


@app.post("/account/sign-out-others")
async def sign_out_others(session: SignedIn) -> Response:
    await auth.end_all(session.subject, keep=session)
    return go("/account")


@app.get("/payment", response_class=HTMLResponse)
async def payment(request: Request, session: Confirmed) -> Response:
    return page(request, "payment", session=session)


@app.post("/account/note")
async def save_note(
    session: SignedIn, note: Annotated[str, Form(max_length=200)], version: Annotated[int, Form()]
) -> Response:
    """Of two tabs that change the same note, the second one is rejected, and no text is lost."""
    try:
        await auth.save(session, {"note": note}, version=version)
    except Conflict:
        raise HTTPException(409, "The note was changed in another tab: load the page again") from None
    return go("/account")


@app.websocket("/live")
async def live(websocket: WebSocket, session: Live) -> None:
    """Sends each message back. The connection is closed with 4401 when the session ends."""
    await websocket.accept()
    async for text in websocket.iter_text():
        await websocket.send_text(f"{session.subject}: {text}")


@app.post("/phone/sign-in")
async def phone_sign_in(
    user: Annotated[str, Form()], password: Annotated[str, Form()], device: Annotated[str, Form()] = "phone"
) -> dict[str, object]:
    """Signs the mobile application in. It refreshes its tokens at `/oauth2/token`."""
    if not await password_matches(user, password):
        raise HTTPException(401, "The name or the password is wrong")
    issued = await auth.open(user, client_id="phone", acr="aal1", amr=["pwd"], device=Device(device))
    tokens = issued.tokens
    return {"access_token": tokens.access_token, "expires_in": tokens.expires_in, "refresh_token": tokens.refresh_token}


@app.get("/api/orders")
async def read_orders(token: OrderReader) -> list[str]:
    return ORDERS[token.subject]


@app.post("/api/orders", status_code=201)
async def add_order(token: OrderWriter, thing: Annotated[str, Form(max_length=40)]) -> list[str]:
    ORDERS[token.subject].append(thing)
    return ORDERS[token.subject]
