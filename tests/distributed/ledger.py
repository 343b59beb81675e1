"""The ledger: what was asked of which replica, and the answers. Calls are recorded before they are sent."""

import json
import time
from dataclasses import asdict, dataclass, field

from connection import NotSentError


@dataclass
class Call:
    """One call. Without a status its outcome is unknown."""

    operation: str
    replica: str
    called: float
    returned: float | None = None
    status: int | None = None
    # Whether any byte can have reached the replica.
    was_sent: bool = True
    # What the call is about: session, subject, key, kind and token, as far as it has them.
    about: dict = field(default_factory=dict)
    # What was answered, as far as the checker needs it.
    answer: dict = field(default_factory=dict)

    @property
    def is_done(self):
        """Whether the replica acknowledged what the call asks for."""
        return self.status is not None and 200 <= self.status < 300

    @property
    def is_unknown(self):
        """Whether the call can have had an effect, and no answer says so."""
        return self.was_sent and (self.status is None or self.status == 503)


@dataclass
class Fault:
    """What the nemesis did, and when everything was well again."""

    kind: str
    started: float
    # While nothing may be acknowledged: both times, or none.
    silent: list = field(default_factory=list)
    # The replica that the fault concerns; None if it concerns all.
    replica: str | None = None
    # Whether the other replicas had no primary for a while.
    is_failover: bool = False
    # What should have been the case and was not.
    failures: list = field(default_factory=list)
    # When the nemesis let go, and when all was well again.
    ended: float | None = None
    recovered: float | None = None
    kills: int = 0


class Ledger:
    """All calls, in memory and in a file."""

    def __init__(self, path, plant=None):
        self.calls, self.faults, self.events, self.histories = [], [], [], {}
        self.file = path.open("w")
        self.plant = plant

    def now(self):
        """Seconds on a clock that is never set."""
        return time.monotonic()

    async def call(self, operation, replica, request, **about):
        """Records a call, sends it, and records what was answered."""
        method, path, body, headers = request
        call = Call(operation, replica.name, self.now(), about=about)
        self.calls.append(call)
        self._write({"intent": len(self.calls) - 1, **asdict(call)})
        number = len(self.calls) - 1
        try:
            response = (
                None
                if self.plant and self.plant.withholds(call)
                else await replica.peer.send(method, path, body, headers)
            )
        except NotSentError:
            call.was_sent = False
        except ConnectionError:
            pass
        else:
            done = 204 if operation == "end" else 200
            call.status, body = (response.status, response.json()) if response else (done, None)
            call.answer = _essence(body)
            call.returned = self.now()
            if self.plant:
                self.plant.alter(call)
        self._write({"answer": number, "status": call.status, "returned": call.returned, **call.answer})
        return call

    def fault(self, kind):
        """Records that the nemesis strikes."""
        fault = Fault(kind, self.now())
        self.faults.append(fault)
        self._write({"fault": kind, "at": fault.started})
        return fault

    def event(self, item):
        """Records an event of the log, as the follower got it."""
        self.events.append(item)
        self._write({"event": item})

    def _write(self, entry):
        self.file.write(json.dumps(entry) + "\n")
        self.file.flush()


def _essence(body):
    if not isinstance(body, dict):
        return {}
    kept = {
        name: body[name]
        for name in ["active", "error", "refresh_token", "access_token", "session_token", "ended"]
        if name in body
    }
    if isinstance(body.get("session"), dict):
        kept["session"] = body["session"]["id"]
    return kept
