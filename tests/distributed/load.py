"""The load: clients that open, rotate, retry and end sessions at random replicas, several at once."""

import asyncio
import json
import random
import urllib.parse
import uuid
from dataclasses import dataclass, field

OPEN_MAX = 6
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
JSON = {"Content-Type": "application/json"}
# How long a replica that did not answer is avoided, as a load balancer would.
AVOIDED_S = 2.0
# The retry window is 10 s; the clocks of two replicas can be 2 s apart.
LATE_S = 8.0


@dataclass
class Session:
    """What its client knows of a session."""

    id: str
    subject: str
    session_token: str
    access: str | None
    # The refresh tokens by their generation; the last one is the current one.
    chain: list = field(default_factory=list)
    # When the current token was first presented.
    presented: float | None = None
    # Whether the token before was presented again long after the first time.
    was_late: bool = False


class Load:
    """All clients."""

    def __init__(self, replicas, ledger, clients, pause_s, seed):
        self.replicas, self.ledger, self.pause_s = replicas.all, ledger, pause_s
        self.headers = replicas.authorization
        self.random, self.avoided = random.Random(seed), {}
        self.is_over = False
        self.clients = [Client(self, n) for n in range(clients)]

    async def run(self):
        """Runs until `is_over`."""
        async with asyncio.TaskGroup() as tasks:
            for client in self.clients:
                tasks.create_task(client.run())

    def some(self, count=1):
        """Replicas, those first that answer."""
        now = self.ledger.now()
        drawn = self.random.sample(self.replicas, len(self.replicas))
        drawn.sort(key=lambda replica: self.avoided.get(replica.name, 0) > now)
        return drawn[:count]

    async def call(self, operation, request, replica=None, **about):
        """One call, to a random replica unless it is named."""
        replica = replica or self.some()[0]
        method, path, body, headers = request
        call = await self.ledger.call(
            operation, replica, (method, path, body, {**headers, **self.headers}), **about
        )
        if call.status is None:
            self.avoided[replica.name] = self.ledger.now() + AVOIDED_S
        return call

    async def pause(self, factor=1.0):
        """A pause of random length."""
        await asyncio.sleep(self.pause_s * factor * self.random.uniform(0.2, 1.8))


def form(path, **fields):
    """A request with a form."""
    return "POST", path, urllib.parse.urlencode(fields).encode(), FORM


class Client:
    """One client. What it does at once is on purpose; else it waits for its answers."""

    def __init__(self, load, number):
        self.load, self.number, self.subjects = load, number, 0
        self.sessions, self.ended = [], []

    async def run(self):
        """Random operations, until the load is over."""
        operations = [
            (30, self.refresh),
            (12, self.refresh_at_several),
            (6, self.retry),
            (25, self.introspect),
            (8, self.ask_for_ended),
            (3, self.end),
            (2, self.revoke),
            (2, self.present_spent),
            (2, self.refresh_and_end),
            (2, self.revoke_access),
            (1, self.log_out),
            (1, self.open_and_log_out),
        ]
        weights = [weight for weight, _ in operations]
        while not self.load.is_over:
            if len(self.sessions) < OPEN_MAX:
                await self.open(self.subject())
            else:
                operation = self.load.random.choices(operations, weights)[0][1]
                await operation(self.load.random.choice(self.sessions))
            await self.load.pause()

    def subject(self):
        """A subject has up to three sessions."""
        if self.load.random.random() < 0.4:
            self.subjects += 1
        return f"subject-{self.number}-{self.subjects}"

    async def insist(self, attempt):
        """Repeats what had no answer, until the load is over."""
        while True:
            call = await attempt()
            if not (call.is_unknown or not call.was_sent) or self.load.is_over:
                return call
            await self.load.pause(5)

    async def open(self, subject):
        """An opening, repeated with the same key until it is answered."""
        key = str(uuid.uuid4())
        body = json.dumps({"subject": subject}).encode()
        request = "POST", "/v1/sessions", body, {**JSON, "Idempotency-Key": key}
        call = await self.insist(lambda: self.load.call("open", request, subject=subject, key=key))
        if call.status != 201:
            return None
        answer = call.answer
        session = Session(
            answer["session"],
            subject,
            answer["session_token"],
            answer["access_token"],
            [answer["refresh_token"]],
        )
        self.sessions.append(session)
        return session

    async def _present(self, session, token, replica=None):
        request = form("/oauth2/token", grant_type="refresh_token", refresh_token=token)
        return await self.load.call("refresh", request, replica, session=session.id, token=token)

    def _take(self, session, calls):
        """Takes over what refreshes of the current token answered."""
        answered = next((call for call in calls if call.status == 200), None)
        if answered:
            session.access = answered.answer["access_token"]
            session.was_late = self.load.ledger.now() - session.presented > LATE_S
            session.chain.append(answered.answer["refresh_token"])
            session.presented = None
        elif any(call.status == 400 for call in calls) and session in self.sessions:
            # The checker judges whether that was right.
            self.sessions.remove(session)

    async def refresh(self, session, replicas=(None,)):
        """A rotation, or the retry of one that had no answer."""
        session.presented = session.presented or self.load.ledger.now()
        token = session.chain[-1]
        self._take(
            session, await asyncio.gather(*(self._present(session, token, replica) for replica in replicas))
        )

    async def refresh_at_several(self, session):
        """The same token at two or three replicas at once."""
        await self.refresh(session, self.load.some(self.load.random.choice([2, 3])))

    async def retry(self, session):
        """The previous token, whose successor was not presented: the same successor is answered."""
        if len(session.chain) > 1 and session.presented is None and not session.was_late:
            call = await self._present(session, session.chain[-2])
            if call.status == 200:
                session.access = call.answer["access_token"]
            # It can have been later than the window.
            session.was_late = True

    async def introspect(self, session, replica=None):
        """A random token of an active session."""
        tokens = [("session", session.session_token), ("refresh", session.chain[-1])]
        tokens += [("access", session.access)] if session.access else []
        await self._ask(session, *self.load.random.choice(tokens), replica)

    async def _ask(self, session, kind, token, replica=None):
        request = form("/oauth2/introspect", token=token)
        return await self.load.call(
            "introspect", request, replica, session=session.id, kind=kind, token=token
        )

    async def ask_for_ended(self, _):
        """A token of a session that was ended."""
        if self.ended:
            await self._ask_all(self.load.random.choice(self.ended[-200:]), self.load.some())

    async def _ask_all(self, session, replicas):
        kinds = [("session", session.session_token), ("refresh", session.chain[-1])]
        kinds += [("access", session.access)] if session.access else []
        chosen = self.load.random.choice(kinds)
        await asyncio.gather(*(self._ask(session, *chosen, replica) for replica in replicas))

    async def _over(self, session):
        """The end was acknowledged: every replica is asked at once."""
        if session in self.sessions:
            self.sessions.remove(session)
        self.ended.append(session)
        await self._ask_all(session, self.load.replicas)

    async def end(self, session):
        """The end of a session."""
        request = "DELETE", f"/v1/sessions/{session.id}", b"", {}
        await self.insist(lambda: self.load.call("end", request, session=session.id))
        await self._over(session)

    async def revoke(self, session):
        """The revocation of a refresh token or a session token, which ends the session."""
        kind, token = self.load.random.choice(
            [("refresh", session.chain[-1]), ("session", session.session_token)]
        )
        request = form("/oauth2/revoke", token=token)
        await self.insist(
            lambda: self.load.call("revoke", request, session=session.id, kind=kind, token=token)
        )
        await self._over(session)

    async def revoke_access(self, session):
        """The revocation of an access token alone."""
        if session.access:
            token, session.access = session.access, None
            request = form("/oauth2/revoke", token=token)
            await self.insist(
                lambda: self.load.call("revoke", request, session=session.id, kind="access", token=token)
            )
            await asyncio.gather(
                *(self._ask(session, "access", token, replica) for replica in self.load.replicas)
            )

    async def present_spent(self, session):
        """A token whose successor was used: reuse, which ends the session."""
        if len(session.chain) > 2:
            await self.insist(lambda: self._present(session, session.chain[-3]))
            await self._over(session)

    async def refresh_and_end(self, session):
        """Both at once, at two replicas."""
        here, there = self.load.some(2)
        request = "DELETE", f"/v1/sessions/{session.id}", b"", {}
        await asyncio.gather(
            self.refresh(session, [here]), self.load.call("end", request, there, session=session.id)
        )
        await self.end(session)

    async def log_out(self, session):
        """The end of all sessions of a subject, which then gets no more."""
        self.subjects += 1
        request = "DELETE", f"/v1/subjects/{session.subject}/sessions", b"", {}
        await self.insist(lambda: self.load.call("log_out", request, subject=session.subject))
        for other in [other for other in self.sessions if other.subject == session.subject]:
            await self._over(other)

    async def open_and_log_out(self, session):
        """Both at once, at two replicas."""
        body = json.dumps({"subject": session.subject}).encode()
        key = str(uuid.uuid4())
        here, there = self.load.some(2)
        opening = "POST", "/v1/sessions", body, {**JSON, "Idempotency-Key": key}
        ending = "DELETE", f"/v1/subjects/{session.subject}/sessions", b"", {}
        await asyncio.gather(
            self.load.call("open", opening, here, subject=session.subject, key=key),
            self.load.call("log_out", ending, there, subject=session.subject),
        )
        await self.log_out(session)
