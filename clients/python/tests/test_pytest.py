"""The fixtures, as an application's tests use them."""

import pytest
from fastapi import FastAPI

from keyfob.fastapi import Keyfob
from keyfob.pytest import Browser, Clock, SignedIn
from keyfob.testing import Server, find_binary

from .application import make_app

pytest_plugins = ["pytester"]


@pytest.fixture(scope="module")
def application(keyfob_server: Server) -> FastAPI:
    return make_app(Keyfob())  # from the environment


def test_a_browser_signs_in(application: FastAPI, keyfob_browser: Browser) -> None:
    one, two = keyfob_browser(application), keyfob_browser(application)
    one.post("/login?user=alice", follow_redirects=False)
    assert one.get("/").json() == "alice"
    assert two.get("/").status_code == 401


def test_a_browser_is_signed_in_without_a_sign_in_page(
    application: FastAPI, keyfob_signed_in: SignedIn
) -> None:
    page = keyfob_signed_in(application, "alice", acr="aal2", amr=("otp",))
    assert page.get("/secret").json() == "alice"
    page.post("/logout", follow_redirects=False)
    assert page.get("/").status_code == 401  # the cookie that was given is the one that is deleted


def test_a_step_up_is_tested_without_waiting(application: FastAPI, keyfob_signed_in: SignedIn) -> None:
    from datetime import datetime, timedelta, timezone

    an_hour_ago = datetime.now(timezone.utc) - timedelta(hours=1)
    assert keyfob_signed_in(application, "alice", auth_time=an_hour_ago).get("/recent").status_code == 401


def test_a_session_expires_without_waiting(
    application: FastAPI, keyfob_signed_in: SignedIn, keyfob_clock: Clock
) -> None:
    page = keyfob_signed_in(application, "alice")
    keyfob_clock.advance("20m")
    assert page.get("/").json() == "alice"  # activity, so that it slides
    keyfob_clock.advance("20m")
    assert page.get("/").json() == "alice"
    assert page.get("/recent").status_code == 401  # 40 minutes after the sign-in, by the server's clock
    keyfob_clock.advance("31m")
    assert page.get("/").status_code == 401


def test_the_fixtures_work_in_a_project_of_its_own(pytester: pytest.Pytester) -> None:
    pytester.makepyprojecttoml(
        """
        [[tool.keyfob.client]]
        client_id = "shop"
        permissions = ["sessions", "introspect"]
        """
    )
    pytester.makepyfile(
        """
        import os

        def test_it(keyfob_server, keyfob_clock):
            assert os.environ["KEYFOB_CLIENT_ID"] == keyfob_server.environment["KEYFOB_CLIENT_ID"] == "shop"
            with keyfob_server.client() as client:
                assert client.open("alice").session.client_id == "shop"
        """
    )
    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)


def test_a_server_that_does_not_start_says_why(tmp_path: object) -> None:
    with (
        pytest.raises(RuntimeError, match=r"(?s)keyfob did not start.*nowhere\.toml"),
        Server("nowhere.toml"),
    ):
        pass


def test_the_server_ends_with_the_tests() -> None:
    with Server() as server:
        process = server.process
        with server.client() as client:
            client.open("alice")
    assert process.wait(10) == 0


def test_the_binary_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    import sys
    from pathlib import Path

    folder = Path(str(tmp_path))
    monkeypatch.setenv("KEYFOB_BIN", "/somewhere/keyfob")
    assert find_binary() == "/somewhere/keyfob"
    monkeypatch.delenv("KEYFOB_BIN")
    monkeypatch.setattr(sys, "executable", str(folder / "python"))
    monkeypatch.setenv("PATH", str(folder / "path"))
    with pytest.raises(FileNotFoundError, match="KEYFOB_BIN"):
        find_binary()
    for place in (folder / "path", folder):
        place.mkdir(exist_ok=True)
        (place / "keyfob").write_text("#!/bin/sh\n")
        (place / "keyfob").chmod(0o755)
        assert find_binary() == str(place / "keyfob")
