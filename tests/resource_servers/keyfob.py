"""A real keyfob with the clients that `docs/resource-servers.md` names, on the address that the page prints."""

import base64
import contextlib
import json
import os
import re
import shlex
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = ROOT / "docs" / "resource-servers.md"
URL = "http://127.0.0.1:8080"
AUDIENCE = "https://api.example"


class Keyfob:
    """The server, and the requests that an application and an operator send to it."""

    def __init__(self, binary, section):
        self.place = tempfile.TemporaryDirectory()
        # A section that needs settings of keyfob prints them as gate.toml.
        settings = re.search(rf"^```toml file={section}/gate.toml\n(.*?)^```$", PAGE.read_text(), re.S | re.M)
        if settings:
            (Path(self.place.name) / "config.toml").write_text(settings[1])
        self.binary = str(Path(binary).resolve())
        self.env = dict(os.environ, KEYFOB_LOG__LEVEL="warn")
        self.process = subprocess.Popen([self.binary, "serve"], cwd=self.place.name, env=self.env,
                                        stdout=subprocess.DEVNULL)
        wait_for(lambda: urllib.request.urlopen(f"{URL}/readyz").status == 200, "keyfob is not ready")
        admin = json.loads((Path(self.place.name) / "data" / "admin.json").read_text())
        self.admin = (admin["client_id"], admin["client_secret"])
        self.secrets = {}
        # The application that signs people in, with one client for each form of token.
        for name, form in [("app", "paseto"), ("app-jwt", "jwt"), ("app-es256", "jwt_es256")]:
            self.create({"client_id": name, "permissions": ["sessions"], "grants": ["refresh_token"],
                         "scopes": ["read", "write", "imap"], "audiences": [AUDIENCE], "access_token_format": form})
        # The resource server: it introspects what is issued for its audience.
        self.create({"client_id": "api", "permissions": ["introspect"], "grants": [], "serves": [AUDIENCE]})

    def create(self, fields):
        status, created = self.request("POST", "/v1/clients", fields, self.admin)
        assert status == 201, (status, created)
        self.secrets[fields["client_id"]] = created["client_secret"]

    def request(self, method, path, body=None, auth=None, form=None):
        """A request; answers the status and the parsed body."""
        headers = {}
        if auth:
            headers["Authorization"] = "Basic " + base64.b64encode(":".join(auth).encode()).decode()
        data = None
        if body is not None:
            headers["Content-Type"], data = "application/json", json.dumps(body).encode()
        if form is not None:
            data = urllib.parse.urlencode(form).encode()
        request = urllib.request.Request(URL + path, method=method, headers=headers, data=data)
        try:
            with urllib.request.urlopen(request) as answer:
                return answer.status, json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read() or b"null")

    def open(self, client="app", subject="alice", **fields):
        """Opens a session; answers the body of the opening."""
        status, opened = self.request("POST", "/v1/sessions", {"subject": subject, **fields},
                                      (client, self.secrets[client]))
        assert status == 201, (status, opened)
        return opened

    def end(self, opened):
        """Ends the session of an opening."""
        status, _ = self.request("DELETE", f"/v1/sessions/{opened['session']['id']}", auth=self.admin)
        assert status == 204, status

    @contextlib.contextmanager
    def suspended(self):
        """The server answers nothing while the block runs."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def stop(self):
        """Stops the server and removes its store."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(20)
        self.place.cleanup()


def wait_for(check, what, seconds=30):
    """Waits until `check` answers true without an error."""
    end = time.monotonic() + seconds
    while True:
        error = "not yet"
        try:
            if check():
                return
        except Exception as failure:  # noqa: BLE001: every failure means "not yet"
            error = failure
        if time.monotonic() > end:
            raise AssertionError(f"{what}: {error}")
        time.sleep(0.1)


def http(url, token=None, method="GET", headers=None, data=None):
    """The status and the text of an answer to a request with a bearer token."""
    request = urllib.request.Request(url, data, headers or {}, method=method)
    if token is not None:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(errors="replace")


def files(section, place, secrets):
    """Writes the files that a section of the page prints (fences with `file=`), with the real secret, and
    answers their paths."""
    text = PAGE.read_text()
    written = {}
    for _, name, body in re.findall(r"^```(\w*) file=(\S+)\n(.*?)^```$", text, re.S | re.M):
        if name.startswith(section + "/"):
            path = Path(place) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(body.replace("SECRET_OF_API", secrets["api"]))
            written[name.removeprefix(section + "/")] = path
    assert written, f"{PAGE.name} prints no file for {section}"
    return written


def commands(title, keyfob):
    """Runs the commands that the section of this title prints; answers what each of them reports."""
    printed = re.search(rf"^## {title}\n.*?^```sh\n(.*?)^```$", PAGE.read_text(), re.S | re.M)[1]
    lines = [[keyfob.binary, *shlex.split(line)[1:], "--json"] for line in printed.splitlines()]
    return [json.loads(subprocess.run(line, cwd=keyfob.place.name, check=True, capture_output=True).stdout)
            for line in lines]
