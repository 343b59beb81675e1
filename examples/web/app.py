#!/usr/bin/env python3
"""A web application that uses keyfob, with only the standard library. Each use of keyfob is one request.

KEYFOB=http://127.0.0.1:8080 CLIENT_ID=web CLIENT_SECRET=kfc_... PORT=9000 python3 app.py

The proxy asks keyfob about every request to /api/ and passes the identity in X-Keyfob-* headers (see nginx.conf, Caddyfile).
"""

import base64
import json
import os
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote

KEYFOB = os.environ.get("KEYFOB", "http://127.0.0.1:8080")
BASIC = base64.b64encode(f"{os.environ['CLIENT_ID']}:{os.environ['CLIENT_SECRET']}".encode()).decode()
PAGE = (Path(__file__).parent / "index.html").read_bytes()
# The user database. Hash real passwords; real codes come from an authenticator.
PASSWORDS = {"alice": "wonderland", "bob": "builder"}
CODE = "123456"


def keyfob(method, path, body=None):
    """Sends one request to keyfob; returns its JSON, or None."""
    request = urllib.request.Request(KEYFOB + path, method=method, headers={"Authorization": f"Basic {BASIC}"})
    if body is not None:
        request.data = json.dumps(body).encode()
        request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=10) as answer:
        text = answer.read()
        return json.loads(text) if text else None


class App(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    # The subject, set by the proxy. Percent-encoded outside visible ASCII.
    def subject(self):
        return unquote(self.headers["X-Keyfob-Subject"])

    def session(self):
        return self.headers["X-Keyfob-Session"]

    def do_GET(self):
        if self.path == "/":
            self.answer(200, PAGE, "text/html; charset=utf-8")
        elif self.path == "/api/me":
            self.answer(200, {"subject": self.subject(), "session": self.session(), "acr": self.headers["X-Keyfob-Acr"]})
        elif self.path == "/api/devices":
            page = keyfob("GET", f"/v1/sessions?state=active&subject={quote(self.subject(), safe='')}")
            devices = [{"id": s["id"], "label": s["device"].get("label"), "last_used_at": s["last_used_at"]} for s in page["items"]]
            self.answer(200, [dict(device, here=device["id"] == self.session()) for device in devices])
        elif self.path == "/api/secret":
            self.answer(200, {"secret": "the cake is in the pantry"})
        else:
            self.answer(404, {"error": "there is no such page"})

    def do_POST(self):
        length = int(self.headers.get("Content-Length") or 0)
        form = {name: values[0] for name, values in parse_qs(self.rfile.read(length).decode()).items()}
        # Defence against requests from pages of other sites, as in keyfob.
        if self.headers.get("Sec-Fetch-Site") != "same-origin":
            self.answer(403, {"error": "not from another site"})
        elif self.path == "/sign-in":
            self.sign_in(form)
        elif self.path == "/api/step-up":
            self.step_up(form)
        elif self.path == "/api/sign-out-others":
            path = f"/v1/sessions?subject={quote(self.subject(), safe='')}&except={self.session()}&reason=by%20the%20person"
            self.answer(200, keyfob("DELETE", path))
        elif self.path == "/api/sign-out-device":
            self.sign_out_device(form.get("id", ""))
        else:
            self.answer(404, {"error": "there is no such page"})

    def sign_in(self, form):
        user = form.get("user", "")
        if PASSWORDS.get(user) != form.get("password"):
            return self.answer(401, {"error": "wrong name or password"})
        device = {"user_agent": self.headers["User-Agent"], "label": form.get("device") or "a browser"}
        opened = keyfob("POST", "/v1/sessions", {"subject": user, "acr": "aal1", "amr": ["pwd"], "device": device, "remember": "remember" in form})
        # Only the cookie goes to the browser, unchanged.
        return self.answer(200, {"subject": user}, cookie=opened["set_cookie"])

    def step_up(self, form):
        if form.get("code") != CODE:
            return self.answer(401, {"error": "wrong code"})
        renewed = keyfob("POST", f"/v1/sessions/{self.session()}/renew", {"acr": "aal2", "amr": ["pwd", "otp"]})
        return self.answer(200, {"acr": renewed["session"]["acr"]}, cookie=renewed["set_cookie"])

    def sign_out_device(self, session):
        # The form can name any session: end it only if it belongs to this subject.
        path = f"/v1/sessions/{quote(session, safe='')}"
        try:
            if keyfob("GET", path)["subject"] == self.subject():
                keyfob("DELETE", path)
                return self.answer(200, {"ended": 1})
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise
        return self.answer(404, {"error": "there is no such device"})

    def answer(self, status, body, media_type="application/json", cookie=None):
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        if cookie:
            self.send_header("Set-Cookie", cookie)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "9000"))), App).serve_forever()
