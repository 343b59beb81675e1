"""What type checkers see: mypy and pyright check these lines, and pytest runs them."""

from __future__ import annotations

from fastapi import Request
from typing_extensions import assert_type

from keyfob import AccessToken, Client, Data, Issued, Session, Tokens, TokenSource, sync
from keyfob.fastapi import Dependency, Keyfob


async def asynchronous(client: Client, session: Session) -> None:
    assert_type(await client.check("kfs_"), Session | None)
    assert_type(await client.introspect("v4"), AccessToken | None)
    assert_type(await client.open("alice"), Issued)
    assert_type(await client.refresh("kfr_"), Tokens | None)
    assert_type(await client.sessions("alice"), list[Session])
    assert_type(await client.end(session), bool)
    assert_type(await client.end_all("alice", keep=session), int)
    assert_type(await client.data(session), Data)
    assert_type(client.own_token(), TokenSource)
    assert_type(await client.own_token()(), str)
    async for event in client.feed():
        assert_type(event.session_id, str | None)


def synchronous(client: sync.Client, session: Session) -> None:
    assert_type(client.check("kfs_"), Session | None)
    assert_type(client.open("alice"), Issued)
    assert_type(client.end_all("alice"), int)
    assert_type(client.own_token()(), str)


def test_the_package_says_that_it_is_typed() -> None:
    from importlib.resources import files

    assert files("keyfob").joinpath("py.typed").is_file()


def test_the_core_needs_no_framework() -> None:
    import subprocess
    import sys

    code = (
        "import sys, keyfob, keyfob.sync; keyfob.Client('http://x', 'a', 'b'); "
        "print([m for m in ('fastapi', 'starlette', 'pydantic', 'anyio', 'httpx') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"


def test_the_pytest_plugin_loads_nothing_but_pytest() -> None:
    import subprocess
    import sys

    code = (
        "import sys, keyfob.pytest; "
        "print([m for m in sys.modules if m.startswith(('keyfob.', 'httptools', 'fastapi'))])"
    )
    assert (
        subprocess.check_output([sys.executable, "-c", code], text=True)
        == "['keyfob._version', 'keyfob.pytest']\n"
    )


def test_the_versions_are_the_servers() -> None:
    import re
    from importlib.metadata import version
    from pathlib import Path

    import keyfob

    cargo = (Path(__file__).parents[3] / "Cargo.toml").read_text()
    server = re.search(r'^version = "(.*)"', cargo, re.MULTILINE)
    assert server is not None
    assert keyfob.__version__ == version("keyfob") == server[1]


def test_everything_that_is_exported_exists() -> None:
    import keyfob

    assert all(getattr(keyfob, name) for name in keyfob.__all__)
    assert set(dir(keyfob)) == set(keyfob.__all__)


async def dependencies(auth: Keyfob, request: Request) -> None:
    assert_type(await auth.session()(request), Session)
    assert_type(await auth.session(acr="aal2")(request), Session)
    assert_type(await auth.session(optional=False)(request), Session)
    assert_type(await auth.session(optional=True)(request), Session | None)
    assert_type(await auth.token("read")(request), AccessToken)
    assert_type(await auth.principal("read")(request), Session | AccessToken)
    assert_type(await auth.websocket()(request), Session)
    assert_type(auth.session(optional=True), Dependency[Session | None])
    assert_type(await auth.sign_in(request, "alice"), Session)
