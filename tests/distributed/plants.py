"""Controls: defects that a run must find, in the cluster, in the program, and lies of the ledger."""

# The cluster promises less than keyfob needs.
CLUSTERS = {
    "asynchronous": "asynchronous standbys, and a primary that is killed before it has sent all",
}
# The binary was built with the patch of this name in controls/. The faults that show it.
PROGRAMS = {
    "unconfirmed-heartbeats": ["replica-with-former-primary"],
    "unlocked-sessions": [],
}


class Plant:
    """A lie: withholds a request and records its success, or alters what was answered."""

    def __init__(self, name, every=20):
        self.name, self.every, self.count = name, every, 0

    def withholds(self, call):
        """Whether a call is not sent, and recorded as done."""
        return self.name == "lost-revocation" and call.operation in {"end", "revoke"} and self._is_turn()

    def alter(self, call):
        """Changes the answer of a call that is done."""
        match self.name, call.operation, call.status:
            case "lost-opening", "open", 201 if self._is_turn():
                call.answer["session_token"] = call.answer["session_token"][:-8] + "AAAAAAAA"
            case "second-pair", "refresh", 200 if self._is_turn():
                call.answer["refresh_token"] = call.answer["refresh_token"][:-8] + "AAAAAAAA"

    def _is_turn(self):
        self.count += 1
        return self.count % self.every == 0


LIES = {
    "lost-revocation": "an end is recorded that no replica was asked for",
    "lost-opening": "an opening is recorded whose session token no replica knows",
    "second-pair": "a rotation is recorded with another refresh token than the one that was answered",
}
# The rules of which one at least must be broken.
BROKEN = {
    "asynchronous": {"active stays active", "ended stays ended", "one history"},
    "unconfirmed-heartbeats": {"ended stays ended"},
    "unlocked-sessions": {"one pair per generation"},
    "lost-revocation": {"ended stays ended"},
    "lost-opening": {"active stays active"},
    "second-pair": {"one pair per generation"},
}
