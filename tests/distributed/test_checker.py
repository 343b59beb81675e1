"""Each rule of the checker, on a ledger that breaks it and on one that does not."""

import unittest

from checker import Checker
from ledger import Call, Fault


class Book:
    """A ledger that is made by hand: a call a second, answered within half of one."""

    def __init__(self):
        self.calls, self.faults, self.events, self.histories, self.time = [], [], [], {}, 0.0

    def add(self, operation, status=200, about=None, answer=None, **times):
        """A call; `called` and `returned` can be given."""
        self.time += 1
        returned = None if status is None else self.time + 0.5
        call = Call(operation, "k1", self.time, returned, status, True, about or {}, answer or {})
        for name, value in times.items():
            setattr(call, name, value)
        self.calls.append(call)
        return call

    def open(self, session="s", subject="alice", key=None):
        """An opening with its event."""
        answer = {
            "session": session,
            "refresh_token": f"{session}0",
            "access_token": "a",
            "session_token": "t",
        }
        self.add("open", 201, {"key": key or session, "subject": subject}, answer)
        self.event("session.opened", session)

    def refresh(self, token, successor=None, status=200, session="s", **times):
        """A rotation, or its refusal."""
        answer = (
            {"refresh_token": successor, "access_token": "a"} if status == 200 else {"error": "invalid_grant"}
        )
        return self.add("refresh", status, {"session": session, "token": token}, answer, **times)

    def ask(self, is_active, kind="session", token="t", session="s"):
        """An introspection."""
        return self.add(
            "introspect", 200, {"session": session, "kind": kind, "token": token}, {"active": is_active}
        )

    def end(self, session="s", status=204):
        """An end with its event."""
        self.add("end", status, {"session": session})
        if status == 204:
            self.event("session.ended", session)

    def event(self, kind, session):
        """The next event."""
        self.events.append({"cursor": str(len(self.events) + 1), "type": kind, "session_id": session})

    def rules(self):
        """The rules that are broken."""
        return {finding.partition(":")[0] for finding in Checker(self).judge()}


class CheckerTest(unittest.TestCase):
    """Each test is a promise."""

    def setUp(self):
        self.book = Book()
        self.book.open()

    def assert_broken(self, *rules):
        self.assertEqual(self.book.rules(), set(rules))

    def test_an_ordinary_life_breaks_no_rule(self):
        self.book.refresh("s0", "s1")
        self.book.refresh("s0", "s1")
        self.book.refresh("s1", "s2")
        self.book.ask(True)
        self.book.end()
        self.book.ask(False)
        self.book.refresh("s2", status=400)
        self.assert_broken()

    def test_an_active_session_is_not_refused(self):
        self.book.refresh("s0", status=400)
        self.assert_broken("active stays active")

    def test_an_active_session_is_not_inactive(self):
        self.book.ask(False)
        self.assert_broken("active stays active")

    def test_an_end_without_an_answer_can_have_had_its_effect(self):
        self.book.end(status=None)
        self.book.ask(False)
        self.book.event("session.ended", "s")
        self.assert_broken()

    def test_an_ended_session_is_not_active_again(self):
        self.book.end()
        self.book.ask(True)
        self.assert_broken("ended stays ended")

    def test_an_ended_session_is_not_refreshed(self):
        self.book.end()
        self.book.refresh("s0", "s1")
        self.assert_broken("ended stays ended")

    def test_what_was_asked_before_the_end_was_acknowledged_can_be_answered_either_way(self):
        self.book.end()
        asked = self.book.ask(True)
        asked.called = self.book.calls[-2].returned - 0.1
        self.assert_broken()

    def test_a_subject_that_logged_out_has_no_active_session(self):
        self.book.open("other", "alice")
        self.book.add("log_out", 200, {"subject": "alice"})
        for session in ["s", "other"]:
            self.book.event("session.ended", session)
        self.book.ask(True, session="other")
        self.assert_broken("ended stays ended")

    def test_a_token_has_one_successor(self):
        self.book.refresh("s0", "s1")
        self.book.refresh("s0", "another")
        self.assert_broken("one pair per generation")

    def test_a_spent_token_is_not_accepted(self):
        self.book.refresh("s0", "s1")
        self.book.refresh("s1", "s2")
        self.book.refresh("s0", "s1")
        self.assert_broken("spent stays spent")

    def test_a_spent_token_ends_its_session(self):
        self.book.refresh("s0", "s1")
        self.book.refresh("s1", "s2")
        self.book.refresh("s0", status=400)
        self.book.event("session.ended", "s")
        self.book.ask(True)
        self.assert_broken("ended stays ended")

    def test_a_revoked_access_token_is_not_active_again(self):
        self.book.add("revoke", 200, {"session": "s", "kind": "access", "token": "a"})
        self.book.ask(True, "access", "a")
        self.assert_broken("ended stays ended")

    def test_an_opening_has_one_session(self):
        self.book.open("other", key="s")
        self.assert_broken("one session per opening")

    def test_an_answer_that_the_documents_do_not_have_is_found(self):
        self.book.add("end", 500, {"session": "s"})
        self.assert_broken("answers of the documents")

    def test_nothing_is_acknowledged_without_a_second_copy(self):
        call = self.book.refresh("s0", "s1")
        self.book.faults = [Fault("standbys-frozen", 0, [call.called - 0.1, call.returned + 0.1])]
        self.assert_broken("two copies")

    def test_a_replica_without_a_database_answers_nothing_else_than_503(self):
        call = self.book.ask(True)
        self.book.faults = [
            Fault("replica-cut-off", 0, [call.called - 0.1, call.returned + 0.1], replica="k1"),
            Fault("replica-cut-off", 0, [call.called - 0.1, call.returned + 0.1], replica="k2"),
        ]
        self.assert_broken("no answer without the database")
        call.status = 503
        self.assert_broken()

    def test_a_fault_that_had_another_effect_than_it_should_is_found(self):
        self.book.faults = [Fault("primary-cut-off", 0, failures=["n1 was not demoted"])]
        self.assert_broken("as the fault demands")

    def test_two_late_answers_in_a_row_are_reuse_also_if_the_calls_were_in_time(self):
        self.book.refresh("s0", "s1")
        self.book.refresh("s0", "s1", returned=12.0)
        self.book.refresh("s1", "s2", called=13.0, returned=13.5)
        self.book.refresh("s1", "s2", called=14.0, returned=24.0)
        self.book.refresh("s2", status=400, called=25.0, returned=25.5)
        self.assert_broken()

    def test_one_late_answer_is_no_reuse(self):
        self.book.refresh("s0", "s1")
        self.book.refresh("s1", "s2", called=13.0, returned=13.5)
        self.book.refresh("s1", "s2", called=14.0, returned=24.0)
        self.book.refresh("s2", status=400, called=25.0, returned=25.5)
        self.assert_broken("active stays active")

    def test_a_lost_event_is_found(self):
        self.book.end()
        del self.book.events[-1]
        self.assert_broken("ends are events")

    def test_a_gap_between_positions_is_found(self):
        self.book.events[0]["cursor"] = "0"
        self.book.end()
        self.assert_broken("positions without a gap")

    def test_a_replica_with_another_log_is_found(self):
        self.book.histories = {"k2": []}
        self.assert_broken("one history")

    def test_positions_follow_the_order_of_answers(self):
        self.book.open("later")
        first, second = self.book.events
        first["session_id"], second["session_id"] = "later", "s"
        self.assert_broken("positions in the order of answers")

    def test_an_opening_can_be_older_than_the_call_that_was_answered(self):
        self.book.add("open", 503, {"key": "retried", "subject": "alice"})
        self.book.open("between")
        self.book.open("retried")
        between, retried = self.book.events[1:]
        between["session_id"], retried["session_id"] = "retried", "between"
        self.assertEqual(self.book.rules(), set())


if __name__ == "__main__":
    unittest.main()
