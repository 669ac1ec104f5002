"""The ledger of kept requests finds what is lost, wrong, pending, or told twice."""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from tests.faults.kept_ledger import PROBLEM, Entry, KeptLedger, Reply
from tests.faults.kept_model import KeptModel, answer_to, request_of

MODEL = {"x-model": "test"}


def right(entry: Entry) -> Reply:
    """The answer that the model gives."""
    answer = answer_to(entry.body)
    return Reply(answer.status, {"content-type": answer.content_type, **MODEL}, answer.body)


def problem(entry: Entry, status: int) -> Reply:
    """A problem document of the gateway."""
    return Reply(status, {"content-type": PROBLEM}, json.dumps({"rquid": entry.request}).encode())


class KeptLedgerTests(SynchronousTestCase):
    """Records, and what the ledger concludes from them."""

    def setUp(self) -> None:
        self.ledger = KeptLedger()

    def told(self, request: str, **options: bool) -> Entry:
        entry = self.ledger.sent(request, **options)
        self.ledger.tell(entry, f"id of {request}")
        return entry

    def fails(self, text: str) -> None:
        """Check that the ledger finds this."""
        error = self.assertRaises(self.failureException, self.ledger.check, self)
        self.assertIn(text, str(error))

    def end(self, entry: Entry, state: str, reply: Reply) -> None:
        self.ledger.ended(entry, state)
        self.ledger.fetched(entry, state, reply)

    def test_kept(self) -> None:
        """Each kind of request with the answer that it has to have."""
        for kind in ("echo", "bytes", "empty", "flaky", "slow"):
            entry = self.told(f"{kind}-1")
            self.end(entry, "succeeded", right(entry))
        entry = self.told("rejected-1")
        self.end(entry, "failed", right(entry))
        entry = self.told("parked-1")
        self.end(entry, "parked", problem(entry, 502))
        entry = self.told("echo-2", has_deadline=True)
        self.end(entry, "expired", problem(entry, 504))
        self.ledger.check(self)
        self.assertEqual(len({answer_to(request_of(f"bytes-{number}")).body for number in range(20)}), 20)

    def test_nobody(self) -> None:
        """A test in which nobody was told an id has shown nothing."""
        self.fails("nobody was told an id")

    def test_lost(self) -> None:
        """An id without a final state, or whose answer was not fetched, is lost."""
        self.told("echo-1")
        self.fails("lost 1:")
        pending = self.told("echo-2")
        self.ledger.ended(pending, "pending")
        unfetched = self.told("echo-3")
        self.ledger.ended(unfetched, "succeeded")
        self.fails("lost 3:")

    def test_wrong_body(self) -> None:
        """One wrong byte, another's answer, a lost header, or a state that does not fit the answer is wrong."""
        for number, change in enumerate(
            (
                lambda reply: reply._replace(body=reply.body[:-1] + b"!"),
                lambda reply: reply._replace(body=answer_to(request_of("bytes-other")).body),
                lambda reply: reply._replace(headers=MODEL),
                lambda reply: reply._replace(headers={"content-type": reply.content_type}),
                lambda reply: reply._replace(status=201),
            )
        ):
            self.ledger = KeptLedger()
            entry = self.told(f"bytes-{number}")
            self.end(entry, "succeeded", change(right(entry)))
            self.fails("wrong 1:")
        for state in ("failed", "parked", "expired"):
            self.ledger = KeptLedger()
            entry = self.told("echo-1")
            self.end(entry, state, right(entry))
            self.fails("wrong 1:")

    def test_by_faults(self) -> None:
        """A request with an answer may end as parked, but not many; and it expires only with a deadline."""
        entry = self.told("echo-1")
        self.end(entry, "parked", problem(entry, 502))
        self.fails("1 ended as errors")
        self.ledger.check(self, by_faults_at_most=1)
        entry = self.told("echo-2")
        self.end(entry, "expired", problem(entry, 504))
        self.fails("wrong 1:")

    def test_ids(self) -> None:
        """Two ids of one key, and one id of two requests, are wrong."""
        entry = self.told("echo-1", key=True)
        self.end(entry, "succeeded", right(entry))
        self.ledger.tell(entry, "another id")
        self.fails("several ids 1:")
        self.ledger.ended(entry, "expired", "another id")
        self.ledger.fetched(entry, None, right(entry), "another id")
        self.ledger.check(self)
        self.ledger = KeptLedger()
        for request in ("echo-1", "echo-2"):
            entry = self.ledger.sent(request)
            self.ledger.tell(entry, "same")
        self.fails("has the id of echo-1")

    def test_changed(self) -> None:
        """A state that is final stays, except that parked and expired may become an answer."""
        for old, new, is_right in (("expired", "succeeded", True), ("succeeded", "expired", False)):
            self.ledger = KeptLedger()
            entry = self.told("echo-1", has_deadline=True)
            self.ledger.ended(entry, old)
            self.ledger.ended(entry, new)
            self.assertEqual(not self.ledger.wrong, is_right)

    def test_calls(self) -> None:
        """The model is not called for refused requests; calls beyond the first are counted."""
        self.told("echo-1")
        self.ledger.sent("echo-2")
        self.assertEqual(self.ledger.called({"echo-1": 3, "flaky-1": 2}), 2)
        self.assertEqual(len(self.ledger.wrong), 1)  # flaky-1 was never sent
        self.ledger.called({"echo-2": 1})
        self.assertIn("it was refused", self.ledger.wrong[1])

    def test_webhook(self) -> None:
        """A request whose webhook did not come is found."""
        entry = self.told("echo-1", webhook=True)
        self.end(entry, "succeeded", right(entry))
        self.fails("no webhook 1:")
        self.ledger.event("id of echo-1", "message", "prediction.succeeded")
        self.ledger.check(self)

    def test_early_webhook(self) -> None:
        """A webhook may come before the caller has its 202."""
        self.ledger.event("id of echo-1", "message", "prediction.succeeded")
        entry = self.told("echo-1", webhook=True)
        self.end(entry, "succeeded", right(entry))
        self.ledger.check(self)

    def test_model(self) -> None:
        """The model gives the answer that the ledger expects, and fails as often as it says."""
        model = KeptModel()
        self.assertEqual(model(request_of("flaky-1"))[0], 500)
        status, body, headers = model(request_of("flaky-1"))
        answer = answer_to(request_of("flaky-1"))
        self.assertEqual((status, body, headers["Content-Type"]), (200, answer.body, answer.content_type))
        self.assertEqual(model.calls, {"flaky-1": 2})
