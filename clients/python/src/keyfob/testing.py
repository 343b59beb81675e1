"""The real keyfob for tests: it starts in a tenth of a second, in memory, with a clock that tests move."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any
from urllib.request import Request, urlopen

from . import sync
from ._settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from fastapi.testclient import TestClient
    from starlette.types import ASGIApp
    from typing_extensions import Self

    from ._models import Issued

# Reports its environment, then waits for the end of its standard input: with the tests, however they end.
_COMMAND = "import json, os, sys; print(json.dumps(dict(os.environ)), flush=True); sys.stdin.read()"
VARIABLES = ("KEYFOB_URL", "KEYFOB_CLIENT_ID", "KEYFOB_CLIENT_SECRET")
STOP_S = 15


def find_binary() -> str:
    """The path of the server: `KEYFOB_BIN`, else beside this interpreter, else on `PATH`."""
    given = os.environ.get("KEYFOB_BIN")
    if given:
        return given
    beside = Path(sys.executable).parent / "keyfob"
    found = str(beside) if beside.is_file() else shutil.which("keyfob")
    if found is None:
        raise FileNotFoundError("there is no keyfob: install keyfob-server, or set KEYFOB_BIN to the binary")
    return found


class Server:
    """A keyfob in memory. Use it in a `with` statement.

    Its clients come from a file: from `[[client]]`, or from `[[tool.keyfob.client]]` of a `pyproject.toml`;
    without a file there is one, `dev`. `client` names the one whose credentials are wanted, else the first.
    `config` is a configuration file, for its policies.
    """

    def __init__(
        self,
        clients: str | os.PathLike[str] | None = None,
        *,
        client: str | None = None,
        config: str | os.PathLike[str] | None = None,
    ) -> None:
        self._arguments = ["--clock"]
        if clients is not None:
            self._arguments += ["--clients", os.fspath(clients)]
        if client is not None:
            self._arguments += ["--client", client]
        if config is not None:
            self._arguments += ["--config", os.fspath(config)]
        self._process: subprocess.Popen[str] | None = None
        self.environment: Mapping[str, str] = {}
        """`KEYFOB_URL`, `KEYFOB_CLIENT_ID` and `KEYFOB_CLIENT_SECRET`."""

    def __enter__(self) -> Self:
        command = [find_binary(), "dev", *self._arguments, "--", sys.executable, "-c", _COMMAND]
        # A pipe for the log that no one reads would stop the server at some time.
        with TemporaryFile("w+") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
            )
            line = process.stdout.readline() if process.stdout else ""
            try:
                environment = json.loads(line)
            except ValueError:
                process.communicate(timeout=STOP_S)
                log.seek(0)
                raise RuntimeError(f"keyfob did not start: {line}{log.read()}") from None
        self._process = process
        self.environment = {name: environment[name] for name in VARIABLES}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        process, self._process = self._process, None
        if process is not None:
            try:
                process.communicate(timeout=STOP_S)  # closes its standard input
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()

    @property
    def url(self) -> str:
        """Its address."""
        return self.environment["KEYFOB_URL"]

    @property
    def process(self) -> subprocess.Popen[str]:
        """Its process, for tests of outages."""
        assert self._process is not None, "the server runs in a with statement"
        return self._process

    def client(self, client_id: str | None = None, **options: Any) -> sync.Client:
        """A synchronous client; with a `client_id`, for another confidential client of the file."""
        url, own_id, secret = (self.environment[name] for name in VARIABLES)
        return sync.Client(url, client_id or own_id, secret, **options)

    def advance(self, by: timedelta | str) -> None:
        """Moves the server's clock forward, by a `timedelta` or a duration such as `31m`."""
        if isinstance(by, timedelta):
            by = f"{round(by.total_seconds())}s"
        settings = Settings.read(*(self.environment[name] for name in VARIABLES))
        headers = {"Authorization": settings.basic, "Content-Type": "application/json"}
        body = json.dumps({"advance": by}).encode()
        with urlopen(Request(f"{self.url}/dev/clock", body, headers, method="POST"), timeout=STOP_S):
            pass


def browser(app: ASGIApp, **options: Any) -> TestClient:
    """A TestClient whose origin is `https://testserver`, since it drops Secure cookies for http."""
    from fastapi.testclient import TestClient

    return TestClient(app, base_url="https://testserver", **options)


def give_cookie(to: TestClient, issued: Issued) -> None:
    """Signs a browser of `browser()` in to an opened session."""
    match = re.match(r"([^=;]+)=([^;]+)", issued.set_cookie)
    assert match is not None
    to.cookies.set(match[1], match[2], domain="testserver.local", path="/")
