"""The table of which requests speak for the user whose cookie they carry."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from keyfob.testing import browser

from .application import make_app
from .conftest import Serving

SITE = "https://testserver"
EVIL = "https://evil.example"
PARTNER = "https://partner.example"
TABLE = [
    # Origin, Sec-Fetch-Site, passes
    (None, None, True),  # no browser
    (SITE, "same-origin", True),
    (None, "same-origin", True),
    (None, "none", True),  # typed into the address bar
    (SITE, None, True),  # a browser before Sec-Fetch-Site
    ("HTTPS://TESTSERVER", None, True),
    ("https://testserver:443", None, True),
    ("null", "same-origin", True),  # Referrer-Policy: no-referrer
    (PARTNER, "cross-site", True),  # in origins
    (PARTNER, None, True),
    (EVIL, "cross-site", False),
    (EVIL, None, False),
    (None, "cross-site", False),
    (None, "same-site", False),  # a page of another host of the same domain
    (SITE, "cross-site", False),
    ("null", None, False),  # a sandboxed frame, a file
    ("null", "cross-site", False),
    ("http://testserver", None, False),
    ("https://testserver:8443", None, False),
    ("https://testserver.evil.example", None, False),
    ("https://evil.example#https://testserver", None, False),
    ("", None, False),
    (SITE, "", False),
    (SITE, "same-origin, cross-site", False),
]


@pytest.fixture
def page(server: Serving) -> TestClient:
    return browser(make_app(server.keyfob(origins=[PARTNER + "/"])), follow_redirects=False)


@pytest.mark.parametrize(("origin", "site", "passes"), TABLE)
def test_a_change_by_cookie(page: TestClient, origin: str | None, site: str | None, passes: bool) -> None:
    assert page.post("/login?user=alice").status_code == 303
    headers = {
        name: value for name, value in (("origin", origin), ("sec-fetch-site", site)) if value is not None
    }
    refusals = {page.request(method, path, headers=headers).status_code for method, path in CHANGES}
    assert refusals == ({200} if passes else {403})
    signing_in = page.post("/login?user=bob", headers=headers)
    assert signing_in.status_code == (303 if passes else 403)
    if not passes:
        assert "KEYFOB_ORIGINS" in signing_in.text
        assert "set-cookie" not in signing_in.headers
    assert page.get("/", headers=headers).status_code == 200  # reading is no change


CHANGES = [("POST", "/change"), ("POST", "/either"), ("DELETE", "/me/session/devices")]


def test_repeated_headers_do_not_pass(page: TestClient) -> None:
    page.post("/login?user=alice")
    assert page.post("/change", headers=[("origin", SITE), ("origin", SITE)]).status_code == 403
    both = [("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")]
    assert page.post("/change", headers=both).status_code == 403


def test_a_forwarded_host_is_not_read(page: TestClient) -> None:
    page.post("/login?user=alice")
    for name in ("x-forwarded-host", "forwarded", "x-original-host"):
        headers = {"origin": EVIL, name: "evil.example" if name != "forwarded" else "host=evil.example"}
        assert page.post("/change", headers=headers).status_code == 403


def test_origins_come_from_the_environment_too(server: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEYFOB_ORIGINS", f"https://other.example, {PARTNER}")
    page = browser(make_app(server.keyfob()), follow_redirects=False)
    assert page.post("/login?user=alice", headers={"origin": PARTNER}).status_code == 303
    assert page.post("/login?user=alice", headers={"origin": EVIL}).status_code == 403


def test_signing_out_is_a_change(page: TestClient) -> None:
    page.post("/login?user=alice")
    assert page.post("/logout", headers={"origin": EVIL}).status_code == 403
    assert page.get("/").status_code == 200


def test_an_identity_provider_may_send_the_browser_back(page: TestClient) -> None:
    """The redirect is a cross-site GET; `form_post` is a POST, and needs the provider in `origins`."""
    back = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert page.get("/callback", headers=back).json() == "alice"
    assert page.get("/").json() == "alice"


def test_a_websocket_from_another_origin_is_refused(page: TestClient) -> None:
    from starlette.websockets import WebSocketDisconnect

    page.post("/login?user=alice")
    for origin in (EVIL, "null", "https://testserver.evil.example"):
        refused = pytest.raises(WebSocketDisconnect)
        with refused, page.websocket_connect("wss://testserver/ws", headers={"origin": origin}):
            pass
    for origin in (SITE, PARTNER):
        with page.websocket_connect("wss://testserver/ws", headers={"origin": origin}) as ws:
            assert ws.receive_text() == "alice"
