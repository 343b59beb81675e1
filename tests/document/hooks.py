"""What no schema can say: who calls, and which names, tokens and values mean something to the server that is running.

Only what was made to be good is put right; what was made to be bad is sent as it is.
"""

import base64
import collections
import datetime
import itertools
import json
import os
import re

import requests
import schemathesis
from schemathesis.core.parameters import ParameterLocation
from schemathesis.generation.meta import TestPhase

HOUSE = json.load(open(os.environ["KEYFOB_HOUSE"]))
CALLER = os.environ["KEYFOB_CALLER"]
URL, SECRETS = HOUSE["url"], HOUSE["secrets"]
SEEN = open(os.environ["KEYFOB_SEEN"], "a", buffering=1)
API = "https://api.example.com"
# Of this run alone: another may end all that a subject has at any moment.
SUBJECT = f"{CALLER}-{os.getpid()}"

# How many requests each operation got: what takes turns goes by it, so that each run is the same.
turns = collections.Counter()
numbers = itertools.count()


class House:
    """Makes things that live, as the administrator or the client whose they are."""

    def __init__(self):
        self.http = requests.Session()

    def ask(self, method, path, client="admin", **body):
        answer = self.http.request(method, URL + path, auth=(client, SECRETS[client]), timeout=10, **body)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def opened(self, client="backend", **fields):
        return self.ask("POST", "/v1/sessions", client, json={"subject": SUBJECT, "acr": "aal1", **fields})

    def session(self):
        """A session that the caller may see and change, if it may any."""
        return self.opened("admin" if CALLER.startswith("admin") else "backend")["session"]["id"]

    def family(self, session):
        client = "admin" if CALLER.startswith("admin") else "backend"
        return self.ask("POST", f"/v1/sessions/{session}/families", client, json={})["family"]

    def client(self):
        return self.ask("POST", "/v1/clients", json={})["client_id"]

    def retired_key(self):
        self.ask("POST", "/v1/keys/rotate?force=true")
        return next(key["kid"] for key in self.ask("GET", "/v1/keys")["items"] if key["status"] == "retired")

    def own_token(self, client):
        return self.ask("POST", "/oauth2/token", client, data={"grant_type": "client_credentials", "resource": URL})["access_token"]

    def refresh_token(self, of):
        """The caller's; a client that has none gets another's."""
        if of == "mobile":
            return self.opened("backend", client_id="mobile")["refresh_token"]
        return self.opened(of)["refresh_token"]


house = House()


def basic(client):
    return "Basic " + base64.b64encode(f"{client}:{SECRETS[client]}".encode()).decode()


def authorization():
    """The credentials of the caller: a new token each time, since some requests end it."""
    match CALLER:
        case "admin" | "backend" | "watcher":
            return {"Authorization": basic(CALLER)}
        case "admin-bearer":
            return {"Authorization": "Bearer " + house.own_token("admin")}
        case "person-session-token":
            return {"Authorization": "Bearer " + house.opened("web")["session_token"]}
        case "person-access-token":
            return {"Authorization": "Bearer " + house.opened("web")["access_token"]}
        case "person-cookie":
            return {"Cookie": "__Host-keyfob=" + house.opened("web")["session_token"], "Sec-Fetch-Site": "same-origin"}
    return {}


@schemathesis.auth(refresh_interval=None)
class Caller:
    def get(self, case, context):
        return authorization()

    def set(self, case, headers, context):
        case.headers = {**(case.headers or {}), **headers}


@schemathesis.hook
def before_call(context, case, kwargs):
    if case.meta is None:
        return
    operation, good = operation_id(case), lambda location: not case.meta.is_negative_at(location)
    turns[operation] += 1
    if case.path_parameters and good(ParameterLocation.PATH):
        # Links and what was learnt lead to things that exist; but what the run itself needs is not deleted.
        # A public client that it learnt of has no secret to rotate.
        learnt = case.meta.phase.name == TestPhase.STATEFUL and case.path_parameters.get("id") not in SECRETS and operation != "rotateSecret"
        case.path_parameters = case.path_parameters if learnt else {**case.path_parameters, **live_names(case.path, turns[operation])}
    if case.headers and "If-Match" in case.headers and good(ParameterLocation.HEADER):
        case.headers["If-Match"] = '"1"' if turns[operation] % 2 else case.headers["If-Match"]
    # Without a query nothing says what to end, or what to change.
    if (case.query or operation in ("endSessions", "simulatePolicy")) and good(ParameterLocation.QUERY):
        case.query = put_right(operation, case.query or {}, case)
    if isinstance(case.body, dict) and good(ParameterLocation.BODY):
        case.body = put_right(operation, {name: shortened(name, value) for name, value in case.body.items()}, case)
    if operation in ("token", "introspect", "revoke") and isinstance(case.body, dict) and good(ParameterLocation.BODY):
        authenticate_by_form(case)


def operation_id(case):
    return case.operation.definition.raw["operationId"]


def live_names(path, turn):
    if "/sessions/{id}" in path:
        session = house.session()
        return {"id": session} | ({"family": house.family(session)} if "{family}" in path else {})
    if "/clients/{id}" in path:
        return {"id": house.client()}
    if "{subject}" in path and turn % 2:
        return {"subject": house.opened()["session"]["subject"]}
    return {"kid": house.retired_key()} if "{kid}" in path else {}


LEFT_OUT = object()
BYTES_MAX = {"user_agent": 1024, "claims": 4096, "data": 16384, "scopes": 2048}


def shortened(name, value):
    """Limits are in bytes, and a schema counts characters."""
    limit = BYTES_MAX.get(name, 256)
    if name in ("claims", "data"):
        fits = len(json.dumps(value, ensure_ascii=False).encode()) < limit and depth(value) < 30 and is_exact(value)
        return value if fits else {}
    if name == "scopes" and isinstance(value, list):
        return [scope for scope in value if len(scope) * len(value) < limit]
    if isinstance(value, str) and name not in ("token", "refresh_token"):
        return value.encode()[:limit].decode(errors="ignore") or value[:1]
    if isinstance(value, list):
        return [shortened(name, item) for item in value]
    if isinstance(value, dict):
        return {name: shortened(name, item) for name, item in value.items()}
    return value


def depth(value):
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return 1 + max(map(depth, items), default=0)


def is_exact(value):
    """Whether every number can be kept as it is written: an integer of 64 bits, or 15 digits."""
    if isinstance(value, (dict, list)):
        return all(map(is_exact, value.values() if isinstance(value, dict) else value))
    if isinstance(value, float):
        return float(f"{value:.15g}") == value
    return not isinstance(value, int) or -(2**63) <= value < 2**64


def put_right(operation, fields, case):
    """The same request with values that are good here and now, where no schema can say which are."""
    right = RIGHT.get(operation)
    both = {**fields, **right(fields, case)} if right else fields
    return {name: value for name, value in both.items() if value is not LEFT_OUT}


def in_place_of(fields, **values):
    """Only what is there, and not null, is put right."""
    return {name: value for name, value in values.items() if fields.get(name) is not None}


def now():
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds")


def granted(fields, _):
    """What a client may ask for: the caller, or whom it opens for."""
    opens_for = {"backend": "mobile", "admin": "backend", "admin-bearer": "backend"}.get(CALLER)
    client = opens_for if fields.get("client_id") is not None else CALLER
    has = client in ("mobile", "backend")
    return in_place_of(fields, client_id=opens_for, scope="read" if has else "", audience=API if has else URL, auth_time=now())


def registered(fields, _):
    name = f"{CALLER}-{next(numbers)}"
    return in_place_of(fields, client_id=name, policy="default") | as_its_kind_may(fields)


def changed(fields, case):
    return in_place_of(fields, client_id=case.path_parameters["id"], kind=LEFT_OUT, policy="default")


def as_its_kind_may(fields):
    """A public client keeps no secret, so it may do nothing that needs one."""
    if fields.get("kind") != "public":
        return {}
    return in_place_of(fields, permissions=[], serves=[], opens_for=[], grants=["refresh_token"])


def kept(fields, _):
    days = re.findall("[0-9]+", fields.get("keep_old_for") or "")
    return in_place_of(fields, keep_old_for="1h30m") if any(len(digits) > 2 for digits in days) else {}


def of_the_grant(fields, _):
    """A grant that the caller has, with a token that lives."""
    issuer_only = CALLER in ("admin", "watcher")
    grant = {"mobile": "refresh_token", "watcher": "client_credentials"}.get(CALLER, fields["grant_type"])
    token = {"refresh_token": house.refresh_token(CALLER)} if grant == "refresh_token" and CALLER in SECRETS else {}
    return {"grant_type": grant, **token} | in_place_of(fields, scope="" if issuer_only else "read", resource=URL if issuer_only else API)


def of_the_caller(fields, case):
    """A token that lives, every second time; else whatever it was, which is none."""
    return {"token": house.refresh_token(CALLER if CALLER in ("admin", "backend", "mobile") else "web")} if turns[operation_id(case)] % 2 else {}


def checked(fields, case):
    """A token that lives, every second time, and what it meets half of the time."""
    if turns[operation_id(case)] % 2:
        owner = CALLER if CALLER == "backend" else "admin"
        token = house.opened(owner)["access_token" if turns[operation_id(case)] % 4 == 1 else "session_token"]
        return {"token": token} | in_place_of(fields, scope="read" if owner == "backend" else "", acr="aal1 aal2", max_age=600)
    return in_place_of(fields, acr="aal1")


def revocable(fields, case):
    """Another client's is refused."""
    return of_the_caller(fields, case) if CALLER in ("admin", "backend", "mobile") else {}


def asked_by_a_proxy(fields, _):
    return in_place_of(fields, scope="read", audience=URL, acr="aal1", client_id=["web"])


def rehearsed(fields, _):
    """At least one change, and no idle timeout beyond its lifetime."""
    timeouts = in_place_of(fields, remember_absolute_lifetime="7d", idle_timeout="10m", remember_idle_timeout="1d", refresh_retry_window="5s")
    return {"absolute_lifetime": "7h"} | timeouts | in_place_of(fields, policy="default")


def ended(fields, _):
    """Exactly one of all and a subject."""
    if fields.get("all") is None and fields.get("subject"):
        return {}
    return {"all": "true", "subject": LEFT_OUT, "except": LEFT_OUT}


RIGHT = {
    "openSession": granted,
    "openFamily": granted,
    "checkSession": checked,
    "renewSession": lambda fields, _: in_place_of(fields, auth_time=now()),
    # A cursor is sealed: only one from an earlier response is valid.
    "listSessions": lambda fields, _: {"cursor": LEFT_OUT},
    "endSessions": ended,
    "createClient": registered,
    "changeClient": changed,
    "rotateSecret": kept,
    "token": of_the_grant,
    "introspect": of_the_caller,
    "revoke": revocable,
    "forwardAuth": asked_by_a_proxy,
    "simulatePolicy": rehearsed,
    # From the start, which the log has reached; and without waiting.
    "readFeed": lambda fields, _: in_place_of(fields, after="0", since=60 if fields.get("after") is None else LEFT_OUT, wait=0),
    "readEvents": lambda fields, _: in_place_of(fields, after="0", wait=0),
}


def authenticate_by_form(case):
    """Who authenticates by header says no more in the form; a client does either, and a public one has only its name."""
    body = {name: value for name, value in case.body.items() if name not in ("client_id", "client_secret")}
    if CALLER == "mobile":
        body["client_id"] = "mobile"
    elif CALLER in ("admin", "backend", "watcher") and turns[operation_id(case)] % 3 == 0:
        del case.headers["Authorization"]
        body |= {"client_id": CALLER, "client_secret": SECRETS[CALLER]}
    case.body = body


@schemathesis.hook
def after_call(context, case, response):
    SEEN.write(f"{operation_id(case)} {response.status_code}\n")
