"""The ledger finds lost, duplicated and unexpected messages."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.faults.ledger import Ledger, Outcome, id_in


class LedgerTests(SynchronousTestCase):
    """Records, and what the ledger concludes from them."""

    def setUp(self) -> None:
        self.changes = 0
        self.ledger = Ledger(self.change)

    def change(self) -> None:
        self.changes += 1

    def test_kept(self) -> None:
        """Confirmed requests that were replied, parked or expired are not lost; unknown and refused ones never are."""
        for request, end in (("a", "replied"), ("b", "parked"), ("c", "expired"), ("d", ""), ("e", "")):
            self.ledger.sent(request)
            if request in "abc":
                self.ledger.confirmed(request)
            if end == "replied":
                self.ledger.replied(request, 200)
            elif end:
                getattr(self.ledger, end)(request)
        self.ledger.unknown("d")
        self.ledger.refused("e")
        self.assertEqual(self.ledger.lost(), set())
        self.assertEqual(self.ledger.unexpected(), [])
        self.ledger.check(self)
        self.assertEqual(self.changes, 13)
        self.assertEqual(self.ledger.with_outcome(Outcome.UNKNOWN), {"d"})

    def test_lost(self) -> None:
        """A confirmed request without an end is lost, and the check names it."""
        self.ledger.confirmed("a")
        self.ledger.called("a")
        self.assertEqual(self.ledger.lost(), {"a"})
        error = self.assertRaises(self.failureException, self.ledger.check, self)
        self.assertIn("lost: a", str(error))

    def test_duplicates(self) -> None:
        """Second replies and second parked copies count; an error reply next to a parked copy does not."""
        self.ledger.confirmed("a")
        self.ledger.replied("a", 502)
        self.ledger.parked("a")
        self.assertEqual(self.ledger.duplicates(), 0)
        self.ledger.replied("a", 502)
        self.ledger.parked("a")
        self.assertEqual(self.ledger.duplicates(), 2)
        self.assertRaises(self.failureException, self.ledger.check, self, duplicates_at_most=1)
        self.ledger.check(self, duplicates_at_most=2)

    def test_unexpected(self) -> None:
        """Ends and calls of refused or never sent requests, and replies to another request, are unexpected."""
        self.ledger.confirmed("a")
        self.ledger.replied("a", 200, belongs=False)
        self.ledger.refused("b")
        self.ledger.replied("b", 200)
        self.ledger.refused("c")
        self.ledger.called("c")
        self.ledger.parked("never")
        self.assertEqual(
            self.ledger.unexpected(),
            [
                "a: a reply that belongs to another request",
                "b: replied, but it was refused",
                "never: parked, but it was never sent",
                "c: the model was called, but it was refused",
            ],
        )
        self.assertRaises(self.failureException, self.ledger.check, self)

    def test_nothing_shown(self) -> None:
        """The check fails if no request was confirmed, or if one has no outcome yet."""
        self.assertRaises(self.failureException, self.ledger.check, self)
        self.ledger.confirmed("a")
        self.ledger.replied("a", 200)
        self.ledger.check(self)
        self.ledger.sent("b")
        self.assertRaises(self.failureException, self.ledger.check, self)

    def test_read(self) -> None:
        """Header, body and correlation id name the request of a message; those that name one have to agree."""
        for request in ("a", "b"):
            self.ledger.sent(request)
        echo = b'{"id": "a"}'
        self.assertEqual(self.ledger.read({"RqUID": "a"}, "a", echo), ("a", True))
        self.assertEqual(self.ledger.read({"rquid": "a"}, "the-gateway's", echo), ("a", True))
        self.assertEqual(self.ledger.read({"RqUID": "a"}, None, b"garbage"), ("a", True))
        self.assertEqual(self.ledger.read({"RqUID": "b"}, None, echo), ("b", False))
        self.assertEqual(self.ledger.read({}, "b", echo), ("a", False))
        self.assertEqual(self.ledger.read({}, "foreign", b"[]"), ("foreign", True))
        self.assertEqual(self.ledger.read({}, None, b""), ("", True))

    def test_id_in(self) -> None:
        """Requests, their echoes and problem documents have an id; other bodies have none."""
        self.assertEqual(id_in(b'{"id": "a"}'), "a")
        self.assertEqual(id_in(b'{"type": "urn:x", "rquid": "a"}'), "a")
        for body in (b"", b"[1]", b'"a"', b'{"id": 1}', b"\xff{"):
            self.assertIsNone(id_in(body))

    def test_summary(self) -> None:
        """The table has a line for each figure."""
        self.ledger.confirmed("a")
        self.ledger.called("a")
        self.ledger.called("a")
        self.ledger.replied("a", 200)
        figures = dict(line.split("  ", 1) for line in self.ledger.summary().splitlines())
        self.assertEqual(
            {name: figures[name].strip() for name in figures},
            {
                "sent": "1",
                "confirmed": "1",
                "unknown": "0",
                "refused": "0",
                "open": "0",
                "replied": "1  (200: 1)",
                "parked": "0",
                "expired": "0",
                "duplicates": "0",
                "model calls beyond the first": "1",
                "lost": "0",
                "unexpected": "0",
            },
        )
