"""The checker: judges a ledger by what keyfob promises, without knowing how it works.

A call with an unknown outcome can have had its effect at any time after it was sent, or never.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import pairwise, permutations
from math import inf

# A token that is presented again after this time can get a late answer; two of them in a row are reuse.
LATE_S = 8.0
WRITES = {"open", "refresh", "end", "revoke", "log_out"}


@dataclass
class Life:
    """What is known of one session."""

    opened: object
    # The first call with the key of that opening, which can have opened it without an answer.
    requested: object
    # When each call that can have ended it was made, and when such a call was acknowledged.
    possible_ends: list = field(default_factory=list)
    certain_ends: list = field(default_factory=list)

    @property
    def active_until(self):
        """Until when nothing can have ended it."""
        return min(self.possible_ends, default=inf)

    @property
    def ended_from(self):
        """From when its end was acknowledged."""
        return min(self.certain_ends, default=inf)


class Checker:
    """The judgement of one ledger."""

    def __init__(self, ledger):
        self.ledger, self.found, self.explained = ledger, [], Counter()
        self.lives, self.by_subject, self.presented = {}, defaultdict(list), defaultdict(list)
        self.successors, self.used, self.revoked = {}, {}, defaultdict(list)

    def judge(self):
        """All findings, as sentences."""
        self._read_openings()
        self._read_rotations()
        self._read_ends()
        for call in self.ledger.calls:
            self._check_answer(call)
        self._check_silence()
        self._check_events()
        return self.found

    def fault(self, rule, text):
        """Records a finding."""
        self.found.append(f"{rule}: {text}")

    def _read_openings(self):
        first, sessions = {}, {}
        for call in self.ledger.calls:
            if call.operation != "open":
                continue
            key = call.about["key"]
            first.setdefault(key, call)
            if call.status != 201:
                continue
            answer = call.answer
            known = sessions.setdefault(key, answer)
            if (known["session"], known["refresh_token"]) != (answer["session"], answer["refresh_token"]):
                self.fault(
                    "one session per opening", f"{known['session']} and {answer['session']} for the key {key}"
                )
            if answer["session"] not in self.lives:
                self.lives[answer["session"]] = Life(call, first[key])
                self.by_subject[call.about["subject"]].append((first[key], answer["session"]))

    def _read_rotations(self):
        for call in self.ledger.calls:
            if call.operation != "refresh":
                continue
            token = call.about["token"]
            self.presented[token].append(call)
            if call.status != 200:
                continue
            successor = call.answer["refresh_token"]
            if self.successors.setdefault(token, successor) != successor:
                self.fault("one pair per generation", f"two successors in {call.about['session']}")
            self.used[token] = min(self.used.get(token, inf), call.returned)

    def _spent_from(self, token):
        """From when the successor of a token was used."""
        return self.used.get(self.successors.get(token), inf)

    def _read_ends(self):
        for call in self.ledger.calls:
            if call.operation == "end" or (call.operation == "revoke" and call.about["kind"] != "access"):
                self._may_end(call.about["session"], call, call.is_done)
            elif call.operation == "revoke":
                self.revoked[call.about["token"]].append(call)
            elif call.operation == "refresh" and call.called > self._spent_from(call.about["token"]):
                self._may_end(call.about["session"], call, call.status == 400)
            elif call.operation == "log_out":
                for opening, session in self.by_subject[call.about["subject"]]:
                    if not (call.is_done and opening.called > call.returned):
                        is_certain = call.is_done and self.lives[session].opened.returned < call.called
                        self._may_end(session, call, is_certain)

    def _may_end(self, session, call, is_certain):
        life = self.lives[session]
        if call.was_sent:
            life.possible_ends.append(call.called)
        if is_certain:
            life.certain_ends.append(call.returned)

    def _check_answer(self, call):
        self._check_status(call)
        session = call.about.get("session")
        if call.operation not in {"refresh", "introspect"} or call.status not in {200, 400}:
            return
        life, token = self.lives[session], call.about["token"]
        if call.status == 200 and call.answer.get("active", True):
            if call.called > life.ended_from:
                self.fault("ended stays ended", f"{call.operation} of {session} at {call.replica}")
            if call.operation == "refresh" and call.called > self._spent_from(token):
                self.fault("spent stays spent", f"{session} at {call.replica}")
            if any(end.is_done and end.returned < call.called for end in self.revoked[token]):
                self.fault("ended stays ended", f"an access token of {session} at {call.replica}")
        elif call.returned < life.active_until and not self._is_explained(call, token):
            self.fault(
                "active stays active",
                f"{call.operation} of {session} at {call.replica}: {call.about.get('kind')}",
            )

    def _is_explained(self, call, token):
        """Whether a refusal has another cause than the end of the session."""
        is_asked = call.operation == "introspect" and call.about["kind"] == "refresh"
        if is_asked and any(other.called < call.returned for other in self.presented[token]):
            return True
        if any(end.called < call.returned and end.was_sent for end in self.revoked[token]):
            return True
        session = call.about["session"]
        if self._was_presented_by_a_straggler(session, call.returned):
            self.explained["a request without an answer presented a spent token later"] += 1
            return True
        if self._was_late_twice(session, call.returned):
            self.explained["two late answers in a row"] += 1
            return True
        return False

    def _tokens(self, session):
        token = self.lives[session].opened.answer["refresh_token"]
        while token:
            yield token
            token = self.successors.get(token)

    def _was_presented_by_a_straggler(self, session, until):
        for token in self._tokens(session):
            used = self.presented.get(self.successors.get(token), [])
            hangs = [call for call in self.presented[token] if call.is_unknown and call.status is None]
            if hangs and any(call.called < until for call in used):
                return True
        return False

    def _was_late_twice(self, session, until):
        was_late = False
        for token in self._tokens(session):
            calls = [call for call in self.presented[token] if call.called < until]
            # What was decided is decided between the call and the answer.
            is_late = any(
                (later.returned or later.called) - earlier.called > LATE_S
                for earlier, later in permutations(calls, 2)
            )
            if is_late and was_late:
                return True
            was_late = is_late
        return False

    def _check_status(self, call):
        allowed = {None, 503}
        allowed |= {"open": {201}, "end": {204}}.get(call.operation, {200})
        if call.operation == "refresh" and call.answer.get("error") == "invalid_grant":
            allowed.add(400)
        if call.status not in allowed:
            self.fault(
                "answers of the documents",
                f"{call.status} to {call.operation} at {call.replica}: {call.answer}",
            )
        if call.about.get("audit") and call.status != 200:
            self.fault("answers when all is well", f"{call.status} to {call.operation} at {call.replica}")

    def _check_silence(self):
        for fault in self.ledger.faults:
            for failure in fault.failures:
                self.fault("as the fault demands", failure)
            if not fault.silent:
                continue
            begin, end = fault.silent
            for call in self.ledger.calls:
                if call.status is None or call.called <= begin or call.returned >= end:
                    continue
                if fault.replica is None and call.operation in WRITES and call.is_done:
                    self.fault("two copies", f"{call.operation} was acknowledged during {fault.kind}")
                if fault.replica == call.replica and call.status != 503:
                    self.fault("no answer without the database", f"{call.status} to {call.operation}")

    def _check_events(self):
        events = self.ledger.events
        positions = [int(event["cursor"]) for event in events]
        for before, after in pairwise(positions):
            if after != before + 1:
                self.fault("positions without a gap", f"{before} was followed by {after}")
        for reader, history in self.ledger.histories.items():
            if history != events:
                self.fault("one history", f"{reader} reads another log than the follower")
        opened, ended, order = Counter(), Counter(), -inf
        for event in events:
            session = event.get("session_id")
            if session not in self.lives:
                continue
            life = self.lives[session]
            if event["type"] == "session.opened":
                opened[session] += 1
                if life.opened.returned < order:
                    self.fault("positions in the order of answers", f"the opening of {session}")
            ended[session] += event["type"] == "session.ended"
            order = max(order, life.requested.called if event["type"] == "session.opened" else -inf)
        for session, life in self.lives.items():
            if opened[session] != 1:
                self.fault("openings are events", f"{opened[session]} of {session}")
            least = 1 if life.ended_from < inf else 0
            if not least <= ended[session] <= 1:
                self.fault("ends are events", f"{ended[session]} of {session}")

    def figures(self):
        """The numbers of calls."""
        calls = self.ledger.calls
        done = Counter(call.operation for call in calls if call.is_done)
        return {
            "calls": len(calls),
            "acknowledged": sum(done[operation] for operation in WRITES),
            "of these openings": done["open"],
            "rotations and retries": done["refresh"],
            "ends": done["end"] + done["revoke"] + done["log_out"],
            "refused with 503": sum(call.status == 503 for call in calls),
            "without an answer": sum(call.status is None and call.was_sent for call in calls),
            "not sent": sum(not call.was_sent for call in calls),
            "events": len(self.ledger.events),
        }
