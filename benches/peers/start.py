#!/usr/bin/env python3
"""Starts another product for the load program: `start.py oidc-provider`, `start.py hydra-memory` or `start.py hydra-postgresql`; or
`start.py keyfob-postgresql BINARY PORT`, which is keyfob over the PostgreSQL of the last one.

Builds what is missing in target/peers: oidc-provider from npm, Ory Hydra from Go modules (some minutes, once). Prints one line of JSON when the
product answers: [port, path] of introspection and refresh, what a refresh sends besides its token, credentials and tokens. Stops it when standard
input ends. If something that it needs is not installed, it exits with 3.
"""

import base64
import json
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
BUILT = HERE.parents[1] / "target" / "peers"
# Refresh tokens and access tokens for as many connections.
TOKENS = 64
POSTGRESQL = [Path("/usr/lib/postgresql/17/bin"), Path("/usr/lib/postgresql/15/bin")]


def main():
    name = sys.argv[1]
    BUILT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=BUILT) as place:
        started = []
        try:
            if name == "oidc-provider":
                oidc_provider(started)
            elif name == "keyfob-postgresql":
                keyfob(Path(place), started, *sys.argv[2:])
            else:
                hydra(Path(place), started, postgresql=name == "hydra-postgresql")
            sys.stdin.read()
        finally:
            for process in reversed(started):
                process.terminate()
                process.wait()


def need(*programs):
    for program in programs:
        if shutil.which(program) is None:
            print(f"{program} is not installed", file=sys.stderr)
            sys.exit(3)


def oidc_provider(started):
    need("node", "npm")
    place = BUILT / "oidc-provider"
    place.mkdir(parents=True, exist_ok=True)
    for file in ["package.json", "package-lock.json", "server.mjs"]:
        shutil.copy(HERE / "oidc-provider" / file, place)
    if not (place / "node_modules").exists():
        subprocess.run(["npm", "ci", "--no-audit", "--no-fund"], cwd=place, check=True, stdout=sys.stderr)
    environment = {**os.environ, "NODE_ENV": "production"}
    started.append(subprocess.Popen(["node", "server.mjs", str(free_port())], cwd=place, env=environment, stdin=subprocess.DEVNULL))


def hydra(place, started, postgresql):
    need("go", "cc")
    binary = BUILT / "hydra"
    if not binary.exists():
        build = ["go", "build", "-tags", "sqlite,sqlite_omit_load_extension", "-o", binary, "."]
        subprocess.run(build, cwd=HERE / "hydra", check=True, stdout=sys.stderr)
    public, admin = free_port(), free_port()
    database_port = database(place, started) if postgresql else None
    environment = {
        **os.environ,
        "DSN": f"postgres://hydra@127.0.0.1:{database_port}/hydra?sslmode=disable&max_conns=20" if postgresql else "memory",
        "LOG_LEVEL": "error",
        "SECRETS_SYSTEM": "a secret of the measurement alone",
        "SERVE_ADMIN_HOST": "127.0.0.1",
        "SERVE_ADMIN_PORT": str(admin),
        "SERVE_PUBLIC_HOST": "127.0.0.1",
        "SERVE_PUBLIC_PORT": str(public),
        "SQA_OPT_OUT": "true",
        "TTL_ACCESS_TOKEN": "24h",
        "URLS_CONSENT": "http://127.0.0.1:1/consent",
        "URLS_LOGIN": "http://127.0.0.1:1/login",
        "URLS_SELF_ISSUER": f"http://127.0.0.1:{public}",
    }
    if postgresql:
        subprocess.run([binary, "migrate", "sql", "-e", "--yes"], env=environment, check=True, stdout=sys.stderr)
    started.append(subprocess.Popen([binary, "serve", "all", "--dev"], env=environment, stdin=subprocess.DEVNULL, stdout=sys.stderr))
    wait(f"http://127.0.0.1:{admin}/health/ready", started[-1])
    # A public client: the check of a secret (PBKDF2) would halve its rate.
    client = {"scope": "offline read", "redirect_uris": ["http://127.0.0.1:1/callback"], "token_endpoint_auth_method": "none"}
    client |= {"grant_types": ["authorization_code", "refresh_token"], "response_types": ["code"]}
    client = ask(f"http://127.0.0.1:{admin}/admin/clients", json.dumps(client), "POST")["client_id"]
    # A refresh revokes the access token of before, so each has sign-ins of its own.
    made = [sign_in(public, admin, client, f"user-{number}") for number in range(2 * TOKENS)]
    answer = {
        "introspect": [admin, "/admin/oauth2/introspect"],
        "token": [public, "/oauth2/token"],
        "form": f"&client_id={client}",
        "authorization": "",
        "access": [tokens["access_token"] for tokens in made[TOKENS:]],
        "refresh": [tokens["refresh_token"] for tokens in made[:TOKENS]],
        "postgresql": database_port,
    }
    print(json.dumps(answer), flush=True)


def keyfob(place, started, binary, database_port):
    """keyfob with its defaults in a database of its own, which has no standby."""
    create_database(database_port, "keyfob")
    port = free_port()
    (place / "config.toml").write_text(
        f'[server]\nlisten = "127.0.0.1:{port}"\nissuer = "http://127.0.0.1:{port}"\n[log]\nlevel = "error"\n'
        f'[store]\nurl = "postgres://hydra@127.0.0.1:{database_port}/keyfob"\nrequire_synchronous = false\n'
    )
    subprocess.run([binary, "init"], cwd=place, check=True, stdout=subprocess.DEVNULL)
    started.append(subprocess.Popen([binary, "serve"], cwd=place, stdin=subprocess.DEVNULL, stdout=sys.stderr))
    url = f"http://127.0.0.1:{port}"
    wait(f"{url}/readyz", started[-1])
    admin = json.loads((place / "data" / "admin.json").read_text())
    client = {"client_id": "load", "permissions": ["sessions", "introspect"], "grants": ["refresh_token"], "scopes": ["read"]}
    secret = ask(f"{url}/v1/clients", json.dumps(client), "POST", basic(admin["client_id"], admin["client_secret"]))["client_secret"]
    load = basic("load", secret)
    made = [ask(f"{url}/v1/sessions", json.dumps({"subject": f"user-{number}"}), "POST", load) for number in range(TOKENS)]
    answer = {
        "introspect": [port, "/oauth2/introspect"],
        "token": [port, "/oauth2/token"],
        "form": "",
        "authorization": load,
        "access": [tokens["session_token"] for tokens in made],
        "refresh": [tokens["refresh_token"] for tokens in made],
        "postgresql": None,
    }
    print(json.dumps(answer), flush=True)


def basic(name, secret):
    return "Basic " + base64.b64encode(f"{name}:{secret}".encode()).decode()


def database(place, started):
    """A new PostgreSQL with its defaults, every commit synced. Answers its port."""
    programs = postgresql_programs()
    user = {}
    if os.geteuid() == 0:
        # It refuses to run as root.
        entry = pwd.getpwnam("postgres")
        user = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
        place.chmod(0o711)
    data = place / "postgresql"
    data.mkdir()
    if user:
        os.chown(data, user["user"], user["group"])
    port = free_port()
    quiet = {"stdout": subprocess.DEVNULL, "cwd": "/", **user}
    subprocess.run([programs / "initdb", "--auth=trust", "--username=hydra", "-D", data], check=True, **quiet)
    command = [programs / "postgres", "-D", data, "-p", str(port), "-c", f"unix_socket_directories={data}", "-c", "listen_addresses=127.0.0.1"]
    started.append(subprocess.Popen(command, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, **quiet))
    create_database(port, "hydra")
    return port


def create_database(port, name):
    """Creates a database, as soon as the server answers."""
    command = [postgresql_programs() / "createdb", "-h", "127.0.0.1", "-p", str(port), "-U", "hydra", name]
    for _ in range(200):
        if subprocess.run(command, stderr=subprocess.DEVNULL).returncode == 0:
            return
        time.sleep(0.1)
    sys.exit("PostgreSQL did not start")


def postgresql_programs():
    found = [folder for folder in POSTGRESQL if (folder / "initdb").exists()]
    if not found:
        print("PostgreSQL is not installed", file=sys.stderr)
        sys.exit(3)
    return found[0]


def sign_in(public, admin, client, subject):
    """The authorization code flow with a login and a consent that are accepted at once. Answers the tokens."""
    cookies = {}

    def follow(url):
        """Answers the parameters of the redirection."""
        request = urllib.request.Request(url, headers={"Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())})
        try:
            urllib.request.build_opener(NoRedirect).open(request)
        except urllib.error.HTTPError as answer:
            for cookie in answer.headers.get_all("Set-Cookie") or []:
                name, _, value = cookie.partition(";")[0].partition("=")
                cookies[name] = value
            return dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(answer.headers["Location"]).query))
        sys.exit(f"Hydra does not redirect from {url}")

    def accept(what, challenge, body):
        url = f"http://127.0.0.1:{admin}/admin/oauth2/auth/requests/{what}/accept?{what}_challenge={challenge}"
        return ask(url, json.dumps(body), "PUT")["redirect_to"]

    query = {"client_id": client, "response_type": "code", "scope": "offline read", "state": "a" * 32, "redirect_uri": "http://127.0.0.1:1/callback"}
    asked = follow(f"http://127.0.0.1:{public}/oauth2/auth?{urllib.parse.urlencode(query)}")
    asked = follow(accept("login", asked["login_challenge"], {"subject": subject}))
    code = follow(accept("consent", asked["consent_challenge"], {"grant_scope": ["offline", "read"]}))["code"]
    form = {"grant_type": "authorization_code", "code": code, "client_id": client, "redirect_uri": query["redirect_uri"]}
    return ask(f"http://127.0.0.1:{public}/oauth2/token", urllib.parse.urlencode(form), "POST")


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


def ask(url, body, method, authorization=None):
    headers = {"Content-Type": "application/json" if body.startswith("{") else "application/x-www-form-urlencoded"}
    headers |= {"Authorization": authorization} if authorization else {}
    request = urllib.request.Request(url, body.encode(), headers, method=method)
    with urllib.request.urlopen(request) as answer:
        return json.loads(answer.read())


def wait(url, process):
    for _ in range(600):
        try:
            urllib.request.urlopen(url).close()
            return
        except OSError:
            if process.poll() is not None:
                sys.exit("it did not start")
            time.sleep(0.1)
    sys.exit("it is not ready")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


main()
