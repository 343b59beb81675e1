"""The shop over HTTP, against a real keyfob in memory."""

import re

import pytest
from fastapi import status
from keyfob import Device
from main import CODE, app, device_name
from starlette.websockets import WebSocketDisconnect

PAGE = {"accept": "text/html"}


@pytest.fixture
def browser(keyfob_browser):
    return keyfob_browser(app)


def sign_in(browser, user="alice", password="wonderland", **fields):
    form = {"user": user, "password": password, **fields}
    return browser.post("/login", data=form, follow_redirects=False)


def test_a_visitor_is_sent_to_the_sign_in_page_and_back(browser):
    asked = browser.get("/account", headers=PAGE, follow_redirects=False)
    assert asked.headers["location"] == "/login?next=%2Faccount"
    assert sign_in(browser, next="/account").headers["location"] == "/account"
    assert "this one" in browser.get("/account", headers=PAGE).text


def test_a_wrong_password_opens_no_session(browser):
    assert sign_in(browser, password="wrong").status_code == status.HTTP_401_UNAUTHORIZED
    assert sign_in(browser, user="mallory").status_code == status.HTTP_401_UNAUTHORIZED
    assert not browser.cookies


def test_the_sign_in_page_sends_no_visitor_to_another_site(browser):
    assert sign_in(browser, next="https://evil.example/").headers["location"] == "/"


def test_the_cookie_is_secure_and_lasts_longer_only_when_asked(browser):
    cookie = sign_in(browser).headers["set-cookie"]
    assert cookie.startswith("__Host-keyfob=") and "Secure; HttpOnly; SameSite=Lax" in cookie
    assert "Max-Age" not in cookie
    assert "Max-Age=" in sign_in(browser, remember="true").headers["set-cookie"]


def test_activity_keeps_a_session_and_idleness_ends_it(keyfob_signed_in, keyfob_clock):
    alice = keyfob_signed_in(app, "alice", acr="aal1")
    for _ in range(3):
        keyfob_clock.advance("20m")
        assert alice.get("/account").status_code == 200
    keyfob_clock.advance("31m")
    assert alice.get("/account").status_code == 401


def test_a_page_that_asks_by_itself_does_not_keep_the_session(keyfob_signed_in, keyfob_clock):
    alice = keyfob_signed_in(app, "alice")
    keyfob_clock.advance("20m")
    assert alice.get("/session").status_code == 200
    keyfob_clock.advance("20m")
    assert alice.get("/session").status_code == 401


def test_payment_asks_for_a_second_factor_that_is_five_minutes_old_at_most(keyfob_signed_in, keyfob_clock):
    alice = keyfob_signed_in(app, "alice", acr="aal1")
    asked = alice.get("/payment", headers=PAGE, follow_redirects=False)
    assert asked.headers["location"] == "/step-up?next=%2Fpayment"
    assert alice.post("/step-up", data={"code": "000000"}).status_code == 401
    assert alice.post("/step-up", data={"code": CODE, "next": "/payment"}, follow_redirects=True).status_code == 200
    keyfob_clock.advance("6m")
    challenge = alice.get("/payment").headers["www-authenticate"]
    assert "insufficient_user_authentication" in challenge and 'max_age="300"' in challenge


def test_one_device_or_all_others_are_signed_out(keyfob_browser):
    laptop, phone, tablet = (keyfob_browser(app) for _ in range(3))
    for one in (laptop, phone, tablet):
        sign_in(one, user="bob", password="builder")
    devices = {one["id"]: one["current"] for one in phone.get("/session/devices").json()}
    here = next(id for id, current in devices.items() if current)
    laptop.post("/account/sign-out", data={"device": here})
    assert [one.get("/session").status_code for one in (laptop, phone, tablet)] == [200, 401, 200]
    laptop.post("/account/sign-out-others")
    assert [one.get("/session").status_code for one in (laptop, phone, tablet)] == [200, 401, 401]


def test_a_device_has_a_name_that_its_user_knows():
    mobile = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 Version/17.5 Safari/604.1"
    chrome = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36"
    for agent, name in [(mobile, "Safari on iPhone"), (chrome, "Chrome on Linux"), (None, "A browser on an unknown system")]:
        assert device_name(Device(user_agent=agent)) == name
    assert device_name(Device("my phone", chrome)) == "my phone"


def test_a_user_cannot_sign_out_the_device_of_another_user(keyfob_signed_in):
    alice, bob = keyfob_signed_in(app, "alice"), keyfob_signed_in(app, "bob")
    alice.post("/account/sign-out", data={"device": bob.get("/session").json()["id"]})
    assert bob.get("/session").status_code == 200


def test_a_page_of_another_site_changes_nothing(keyfob_signed_in):
    alice = keyfob_signed_in(app, "alice")
    assert alice.post("/account/sign-out-others", headers={"sec-fetch-site": "cross-site"}).status_code == 403
    assert alice.post("/logout", headers={"origin": "https://evil.example"}).status_code == 403


def test_signing_in_again_replaces_the_session(browser):
    sign_in(browser)
    sign_in(browser)
    assert [one["current"] for one in browser.get("/session/devices").json()].count(True) == 1


def test_of_two_tabs_that_change_a_note_the_second_is_rejected(keyfob_signed_in):
    alice = keyfob_signed_in(app, "alice", data={"note": "old"})
    version = re.search(r'name="version" value="(\d+)"', alice.get("/account").text)[1]
    assert alice.post("/account/note", data={"note": "first", "version": version}).status_code == 200
    assert alice.post("/account/note", data={"note": "second", "version": version}).status_code == 409
    assert 'value="first"' in alice.get("/account").text


def test_the_mobile_application_refreshes_and_reads_with_its_scopes(browser):
    tokens = browser.post("/phone/sign-in", data={"user": "alice", "password": "wonderland"}).json()
    form = {"grant_type": "refresh_token", "client_id": "phone", "refresh_token": tokens["refresh_token"]}
    fresh = browser.post("/oauth2/token", data=form).json()
    bearer = {"authorization": f"Bearer {fresh['access_token']}"}
    assert "teapot" in browser.get("/api/orders", headers=bearer).json()
    assert browser.post("/api/orders", data={"thing": "cup"}, headers=bearer).status_code == 201
    read_only = {**form, "refresh_token": fresh["refresh_token"], "scope": "orders:read"}
    bearer = {"authorization": f"Bearer {browser.post('/oauth2/token', data=read_only).json()['access_token']}"}
    refused = browser.post("/api/orders", data={"thing": "cup"}, headers=bearer)
    assert refused.status_code == 403 and 'scope="orders:write"' in refused.headers["www-authenticate"]


def test_an_open_websocket_is_closed_when_its_session_ends(keyfob_signed_in):
    with keyfob_signed_in(app, "alice") as alice, alice.websocket_connect("/live") as live:
        live.send_text("hello")
        assert live.receive_text() == "alice: hello"
        alice.post("/logout")
        with pytest.raises(WebSocketDisconnect) as closed:
            live.receive_text()
        assert closed.value.code == 4401


def test_the_application_documents_its_credentials(browser):
    paths = browser.get("/openapi.json").json()["paths"]
    assert paths["/api/orders"]["post"]["security"] == [{"keyfob access token": ["orders:write"]}]
    assert {"401", "403", "503"} <= paths["/account"]["get"]["responses"].keys()
