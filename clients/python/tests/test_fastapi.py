"""The dependencies, and the answers to requests that they reject."""

import gc
import signal
from collections.abc import MutableMapping
from pathlib import Path
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI
from fastapi.testclient import TestClient

from keyfob import Conflict, Session, sync
from keyfob.fastapi import Keyfob, local_path
from keyfob.testing import browser, give_cookie

from .application import make_app
from .conftest import CLIENTS, Serving

HTML = {"accept": "text/html,application/xhtml+xml"}


def sign_in(page: TestClient, user: str = "alice", **query: str) -> None:
    assert page.post("/login", params={"user": user, **query}).status_code == 303


def client(server: Serving) -> sync.Client:
    return sync.Client(server.url, "web", server.environment["KEYFOB_CLIENT_SECRET"])


def test_a_session_from_sign_in_to_sign_out(page: TestClient) -> None:
    assert page.get("/").status_code == 401
    assert page.get("/maybe").json() == "a visitor"
    sign_in(page)
    assert page.get("/").json() == page.get("/maybe").json() == page.post("/change").json() == "alice"
    assert page.post("/logout").status_code == 303
    assert page.cookies.get("__Host-keyfob") is None
    assert page.get("/").status_code == 401


def test_pages_are_sent_to_the_sign_in_page_and_all_else_is_401(page: TestClient) -> None:
    to_login = page.get("/?a=b&c=d", headers=HTML)
    assert (to_login.status_code, to_login.headers["location"]) == (303, "/login?next=%2F%3Fa%3Db%26c%3Dd")
    for answer in (
        page.get("/"),
        page.get("/", headers={"accept": "*/*"}),
        page.post("/change", headers=HTML),
    ):
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")


def test_a_cookie_that_is_not_valid_is_401_and_is_not_deleted(page: TestClient) -> None:
    """Deleting it could delete the one that another request set in the meantime, after a step-up."""
    page.cookies.set("__Host-keyfob", "kfs_" + "A" * 96)
    answer = page.get("/")
    assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("/orders?a=b#c", "/orders?a=b#c"),
        ("/", "/"),
        (None, "/"),
        ("", "/"),
        ("orders", "/"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("\\\\evil.example", "/"),
        ("/\t/evil.example", "/"),
        ("/\n/evil.example", "/"),
        ("/a\\..\\\\evil.example", "/"),
        ("https://evil.example", "/"),
        ("javascript:alert(1)", "/"),
        (" //evil.example", "/"),
        ("/\x00/evil.example", "/"),
    ],
)
def test_next_stays_on_this_site(url: str | None, path: str) -> None:
    assert local_path(url) == path


def test_a_step_up_is_a_challenge_or_a_page(page: TestClient) -> None:
    sign_in(page)
    before = page.cookies.get("__Host-keyfob")
    answer = page.get("/secret")
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == (
        'Bearer error="insufficient_user_authentication", acr_values="aal2 aal3"'
    )
    assert page.get("/secret", headers=HTML).headers["location"] == "/step-up?next=%2Fsecret"
    session = page.post("/step-up").json()
    assert page.cookies.get("__Host-keyfob") != before
    assert page.get("/secret").json() == "alice"
    assert page.get("/me/session").json()["id"] == session


def test_an_old_authentication_needs_a_new_one(server: Serving, app: FastAPI) -> None:
    from datetime import datetime, timedelta, timezone

    page = browser(app, follow_redirects=False)
    with client(server) as web:
        give_cookie(page, web.open("alice", auth_time=datetime.now(timezone.utc) - timedelta(seconds=600)))
    challenge = 'Bearer error="insufficient_user_authentication", max_age="300"'
    assert page.get("/recent").headers["www-authenticate"] == challenge
    page.post("/step-up")
    assert page.get("/recent").json() is True  # two demands, one question: the same object


def test_bearer_tokens_have_scopes(server: Serving, page: TestClient) -> None:
    with client(server) as web:
        issued = web.open("alice", scopes=["read"])
    bearer = {"authorization": f"Bearer {issued.tokens.access_token}"}
    assert page.get("/api/orders", headers=bearer).json() == "alice"
    refused = page.post("/api/orders", headers=bearer)
    assert refused.status_code == 403
    assert refused.headers["www-authenticate"] == 'Bearer error="insufficient_scope", scope="write"'
    for wrong in (issued.session_token, issued.tokens.refresh_token, "x", "", "\xe9"):
        answer = page.get("/api/orders", headers={b"authorization": f"Bearer {wrong}".encode("latin-1")})
        assert (answer.status_code, answer.headers["www-authenticate"]) == (
            401,
            'Bearer error="invalid_token"',
        )
    for none in ({}, {"authorization": "Basic eDp5"}, HTML):
        assert page.get("/api/orders", headers=none).headers["www-authenticate"] == "Bearer"


def test_a_token_for_another_audience_is_not_valid(server: Serving) -> None:
    page = browser(make_app(server.keyfob(audience="https://api.example")))
    with client(server) as web:
        token = web.open("alice").tokens.access_token
    assert page.get("/api/orders", headers={"authorization": f"Bearer {token}"}).status_code == 401


def test_a_principal_is_a_token_or_a_session(server: Serving, page: TestClient) -> None:
    with client(server) as web:
        token = web.open("bob").tokens.access_token
    assert page.post("/either").status_code == 401
    sign_in(page)
    assert page.post("/either").json() == "Session of alice"
    bearer = {"authorization": f"Bearer {token}", "sec-fetch-site": "cross-site"}
    assert page.post("/either", headers=bearer).json() == "AccessToken of bob"
    assert page.post("/either", headers={"authorization": "Bearer x"}).status_code == 401  # no fallback
    assert page.get("/either-fresh").status_code == 401
    assert page.get("/either-fresh", headers=HTML).headers["location"].startswith("/step-up")


def test_signing_in_again_ends_the_session_before(page: TestClient) -> None:
    for _ in range(3):
        sign_in(page, "dora")
    assert page.get("/sessions/dora").json() == 1
    sign_in(page, "emil")
    assert (page.get("/sessions/dora").json(), page.get("/sessions/emil").json()) == (0, 1)


def test_signing_in_again_needs_no_room_for_a_second_session(tmp_path: Path) -> None:
    """The replaced session is ended first; else it would be the one that is too many."""
    config = tmp_path / "keyfob.toml"
    config.write_text('[policy.default]\nmax_sessions_per_subject = 1\nwhen_full = "refuse"\n')
    with Serving(CLIENTS, config=config) as server:
        page, other = (browser(make_app(server.keyfob()), follow_redirects=False) for _ in range(2))
        for _ in range(3):
            sign_in(page)
        assert page.get("/").json() == "alice"
        with pytest.raises(Conflict):
            other.post("/login?user=alice")


def test_a_remembered_session_has_a_cookie_that_lasts(page: TestClient) -> None:
    answer = page.post("/login", params={"user": "alice", "remember": "true"})
    assert "Max-Age=" in answer.headers["set-cookie"]


def test_the_routes_for_pages_with_scripts(server: Serving, app: FastAPI, page: TestClient) -> None:
    sign_in(page, "frida")
    other = browser(app)
    with client(server) as web:
        give_cookie(other, web.open("frida"))
        foreign = web.open("mallory").session.id
    devices = page.get("/me/session/devices").json()
    assert [(one["label"], one["current"]) for one in devices].count(("laptop", True)) == 1
    assert len(devices) == 2
    other_id = next(one["id"] for one in devices if not one["current"])
    assert page.delete(f"/me/session/devices/{foreign}").status_code == 404
    assert page.delete("/me/session/devices/x").status_code == 404
    assert page.delete(f"/me/session/devices/{other_id}").status_code == 204
    assert other.get("/").status_code == 401
    assert page.delete("/me/session/devices").json() == {"ended": 0}
    assert page.delete("/me/session").status_code == 204
    assert page.get("/me/session").status_code == 401


def test_a_mobile_client_refreshes_at_the_application(server: Serving, page: TestClient) -> None:
    with client(server) as web:
        token = web.open("greta", client_id="phone").tokens.refresh_token
    form = {"grant_type": "refresh_token", "refresh_token": token, "client_id": "phone"}
    answer = page.post("/me/oauth2/token", data=form)
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    assert answer.json()["refresh_token"] != token
    assert (
        page.post("/me/oauth2/token", data={**form, "refresh_token": "kfr_x"}).json()["error"]
        == "invalid_grant"
    )
    for wrong in ({"grant_type": "client_credentials"}, {**form, "client_secret": "kfc_"}, {}):
        assert page.post("/me/oauth2/token", data=wrong).json()["error"] == "unsupported_grant_type"
    assert page.post("/me/oauth2/token", content=b"x" * 70_000).status_code == 413


def test_an_outage_is_503_and_never_401(own_server: Serving) -> None:
    with browser(make_app(own_server.keyfob(timeout=0.3)), follow_redirects=False) as page:
        sign_in(page)
        own_server.signal(signal.SIGSTOP)
        for path in ("/", "/maybe", "/secret", "/sessions/alice"):
            answer = page.get(path, headers=HTML)
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        bearer = {"authorization": "Bearer v4.public.x"}
        assert page.get("/api/orders", headers=bearer).status_code == 503
        own_server.signal(signal.SIGCONT)
        assert page.get("/").json() == "alice"
        own_server.signal(signal.SIGSTOP)
        assert page.post("/logout").status_code == 503
        assert page.cookies.get("__Host-keyfob")  # so that the visitor can try again


def test_a_wrong_secret_is_500_and_a_loud_line(server: Serving, caplog: pytest.LogCaptureFixture) -> None:
    page = browser(make_app(Keyfob(server.url, "web", "kfc_wrong")))
    page.cookies.set("__Host-keyfob", "kfs_" + "A" * 96)
    assert page.get("/").status_code == 500
    assert "client authentication failed" in caplog.text


def test_the_cookie_of_another_name_is_a_misconfiguration(
    server: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    page = browser(make_app(server.keyfob(cookie="session")))
    assert page.post("/login?user=alice").status_code == 500
    assert "[cookie] name is __Host-keyfob" in caplog.text


def test_importing_an_application_needs_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("URL", "CLIENT_ID", "CLIENT_SECRET"):
        monkeypatch.delenv(f"KEYFOB_{name}", raising=False)
    app = make_app(Keyfob())
    assert app.openapi()["paths"]
    assert browser(app).get("/").status_code == 401  # no cookie, nothing to ask


def test_without_install_a_cookie_is_an_error_and_questions_work(server: Serving) -> None:
    page = browser(make_app(server.keyfob(), installed=False))
    with pytest.raises(RuntimeError, match="install"):
        page.post("/login?user=alice")
    with client(server) as web:
        give_cookie(page, web.open("alice"))
    assert page.get("/").json() == "alice"


def test_two_applications_and_a_mounted_one(server: Serving) -> None:
    inner, outer = make_app(server.keyfob()), make_app(server.keyfob())
    outer.mount("/inner", inner)
    bare = FastAPI()
    bare.mount("/inner", inner)
    for app in (outer, bare):
        page = browser(app, follow_redirects=False)
        assert page.post("/inner/login?user=alice").status_code == 303
        assert page.get("/inner/").json() == "alice"
        answer = page.get("/inner/", headers=HTML, cookies=None)
        assert answer.status_code == 200


def test_the_document_has_the_schemes_and_the_refusals(app: FastAPI) -> None:
    document = app.openapi()
    assert document["components"]["securitySchemes"] == {
        "keyfob session": {
            "type": "apiKey",
            "in": "cookie",
            "name": "__Host-keyfob",
            "description": "Sign in on this site in the same browser: it sends the cookie by itself.",
        },
        "keyfob access token": {"type": "http", "scheme": "bearer", "bearerFormat": "PASETO"},
    }
    paths = document["paths"]
    assert paths["/secret"]["get"]["security"] == [{"keyfob session": []}]
    assert paths["/api/orders"]["post"]["security"] == [{"keyfob access token": ["write"]}]
    assert paths["/api/orders"]["get"]["security"] == [{"keyfob access token": ["read"]}]
    assert paths["/either"]["post"]["security"] == [{"keyfob session": []}, {"keyfob access token": ["read"]}]
    assert {"401", "403", "503"} <= paths["/secret"]["get"]["responses"].keys()
    assert "401" not in paths["/login"]["post"]["responses"]


def test_the_same_arguments_give_the_same_dependency(auth: Keyfob, app: FastAPI, page: TestClient) -> None:
    assert auth.session() is auth.session(scopes=[])
    assert auth.session(scopes=["a"]) is auth.session(scopes=("a",))
    assert auth.session() is not auth.session(optional=True)
    assert auth.token("a") is auth.token("a")
    assert auth.principal("a") is auth.principal("a")
    assert auth.websocket() is auth.websocket()
    assert auth.session() is not Keyfob().session()
    with client_of(auth) as web:
        fake = web.open("fake").session
    app.dependency_overrides[auth.session()] = lambda: fake
    assert page.get("/").json() == "fake"
    assert page.get("/secret").status_code == 401


def client_of(auth: Keyfob) -> sync.Client:
    return sync.Client(*vars(auth)["_given"])


def test_a_dependency_works_with_another_ones(server: Serving, auth: Keyfob) -> None:
    app = FastAPI()
    auth.install(app)

    async def admin(session: Annotated[Session, Depends(auth.session())]) -> str:
        return session.subject

    @app.get("/")
    async def home(name: Annotated[str, Depends(admin)]) -> str:
        return name

    page = browser(app)
    with client(server) as web:
        give_cookie(page, web.open("alice"))
    assert page.get("/").json() == "alice"


@pytest.mark.anyio
async def test_a_request_leaves_nothing_to_the_garbage_collector(server: Serving) -> None:
    """A cycle of the scope and `send`, which holds it in uvicorn, cost a sixth of a request."""
    auth = server.keyfob()
    app = FastAPI()
    auth.install(app)

    @app.get("/")
    async def page(session: Annotated[Session, Depends(auth.session())]) -> str:
        return session.subject

    class Cycle:
        def __init__(self, cookie: str) -> None:
            headers = [(b"cookie", cookie.encode())]
            self.scope: dict[str, Any] = {"type": "http", "method": "GET", "path": "/", "headers": headers}
            self.scope |= {"query_string": b"", "asgi": {"version": "3.0"}}
            self.status = 0

        async def receive(self) -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(self, message: MutableMapping[str, Any]) -> None:
            self.status = message.get("status", self.status)

    async def ask(cookie: str) -> int:
        cycle = Cycle(cookie)
        await app(cycle.scope, cycle.receive, cycle.send)
        return cycle.status

    cookie = (await auth.open("alice")).set_cookie.partition(";")[0]
    assert await ask(cookie) == 200
    gc.collect()
    for _ in range(10):
        await ask(cookie)
    assert gc.collect() < 10
    await auth.aclose()
