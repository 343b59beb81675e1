"""Answers as values: their members are decoded at first use, which no caller sees."""

import copy
import pickle
from dataclasses import asdict, replace
from datetime import datetime, timezone
from functools import partial
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI

from keyfob import AccessToken, Session
from keyfob._models import Moment
from keyfob.testing import Server, browser, give_cookie

from .conftest import Serving

AT = "2026-11-28T22:58:23.774Z"
SESSION: dict[str, Any] = {
    "id": "s1",
    "subject": "alice",
    "client_id": "web",
    "acr": "aal1",
    "amr": ["pwd"],
    "scope": "read write",
    **dict.fromkeys(("authenticated_at", "idle_expires_at", "expires_at", "created_at"), AT),
    "device": {"label": "laptop"},
    "data": {"cart": [1]},
    "version": 3,
    "ended": {"at": AT, "reason": "logout", "by": "web"},
}


def moment() -> Moment:
    return Moment(0.0, 0.0)


def decoded() -> Session:
    return Session.of(copy.deepcopy(SESSION), moment)


def test_an_answer_is_the_same_value_however_it_is_copied() -> None:
    session = decoded()
    assert session == decoded() == replace(decoded()) == copy.copy(decoded()) == copy.deepcopy(decoded())
    assert pickle.loads(pickle.dumps(decoded())) == session
    assert asdict(decoded()) == asdict(replace(session))
    assert "Session(id='s1', subject='alice'" in repr(decoded())
    assert session != replace(session, subject="bob")


def test_a_member_that_is_absent_has_its_default() -> None:
    at = datetime.fromtimestamp(1, timezone.utc)
    few = {name: SESSION[name] for name in ("id", "subject", "client_id")}
    few |= dict.fromkeys(("authenticated_at", "idle_expires_at", "expires_at"), "1970-01-01T00:00:01+00:00")
    assert Session.of(few, moment) == Session("s1", "alice", "web", None, (), at, at, at)
    token = AccessToken.of({"sub": "web", "client_id": "web", "exp": 1}, moment)
    assert token == AccessToken("web", "web", (), None, None, at, None, None, None, None, (), None)


def test_a_copy_of_an_answer_that_is_not_decoded_has_the_same_moment() -> None:
    session = Session.of(copy.deepcopy(SESSION), partial(Moment, 1.0, 2.0, 3))
    other = copy.copy(session)
    assert session.moment == other.moment == pickle.loads(pickle.dumps(other)).moment == (1.0, 2.0, 3)


def test_a_name_that_is_no_member_is_an_attribute_error() -> None:
    for value in (decoded(), replace(decoded())):
        with pytest.raises(AttributeError, match="'Session' object has no attribute 'user'"):
            getattr(value, "user")  # noqa: B009


def test_a_route_may_return_a_session(server: Serving) -> None:
    auth = server.keyfob()
    app = FastAPI()

    @app.get("/me")
    async def me(session: Annotated[Session, Depends(auth.session())]) -> Any:
        return session

    with Server.client(server, "web") as web:
        page = browser(app)
        give_cookie(page, web.open("alice", acr="aal1"))
    shown = page.get("/me").json()
    assert (shown["subject"], shown["acr"], shown["client_id"]) == ("alice", "aal1", "web")
