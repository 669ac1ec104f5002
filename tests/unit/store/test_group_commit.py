"""Groups of operations are committed one after the other: what is in a group, and who is to blame if one fails."""

from __future__ import annotations

from twisted.internet.defer import CancelledError

from provider_gateway.store.operations import Finish
from provider_gateway.store.records import Status
from tests.support.stores import outcome, record
from tests.unit.store.base import AWAY, DATA, REPEAT, GroupCommitTestCase


class BatchTests(GroupCommitTestCase):
    """What is committed together."""

    def setUp(self) -> None:
        super().setUp()
        self.begin()

    def test_one_turn(self) -> None:
        """What arrives in one turn of the reactor shares a transaction; each gets its own answer, after the commit."""
        done = self.submit("a", "B", "c")
        self.assertEqual(self.transactions, [["a", "B", "c"]])
        for each in done:
            self.assertNoResult(each)
        self.commit()
        self.assertEqual([self.successResultOf(each) for each in done], ["a", "B", "c"])
        self.assert_nothing_left()

    def test_meanwhile(self) -> None:
        """What arrives while a transaction runs is the next one, which begins at once."""
        (first,) = self.submit("a")
        others = self.submit("b") + self.submit("c")
        self.assertEqual(self.transactions, [["a"]])
        self.commit()
        self.assertEqual(self.transactions, [["a"], ["b", "c"]])
        self.commit()
        self.assertEqual([self.successResultOf(each) for each in (first, *others)], ["a", "b", "c"])

    def test_limits(self) -> None:
        """A transaction has at most 500 operations, and 16 MiB of bodies; a larger body has one of its own."""
        self.submit(*(f"id-{number}" for number in range(501)))
        self.commit()
        self.assertEqual([len(each) for each in self.transactions], [500, 1])
        self.commit()
        self.transactions.clear()
        for name, megabytes in (("A", 10), ("B", 6), ("C", 1), ("D", 17), ("E", 0)):
            self.group.submit(Finish(outcome(name, body=bytes(megabytes * 2**20))))
        self.clock.advance(0)
        for _ in range(3):
            self.commit()
        self.assertEqual(self.transactions, [["A", "B"], ["C"], ["D"], ["E"]][: len(self.transactions)])
        self.commit()
        self.assert_nothing_left()

    def test_repeated(self) -> None:
        """A transaction that others made fail is repeated at once, 20 times at most; then the store is away."""
        done = self.submit("a", "b")
        for _ in range(19):
            self.fail_with(REPEAT)
        self.commit()
        self.assertEqual([self.successResultOf(each) for each in done], ["a", "b"])
        self.assertEqual(self.transactions, [["a", "b"]] * 20)
        (late,) = self.submit("c")
        for _ in range(20):
            self.fail_with(REPEAT)
        self.assert_unavailable(late, detail="away")
        self.assertFalse(self.group.is_up)


class CancellationTests(GroupCommitTestCase):
    """Operations that nobody waits for any more."""

    def setUp(self) -> None:
        super().setUp()
        self.begin()

    def test_before(self) -> None:
        """An operation that is cancelled before its transaction begins is not done."""
        self.submit("a")
        b, c = self.submit("b", "C")
        b.cancel()
        self.failureResultOf(b, CancelledError)
        self.commit()
        self.assertEqual(self.transactions[1:], [["C"]])
        c.cancel()  # its transaction runs
        self.failureResultOf(c, CancelledError)
        self.commit()
        self.assert_nothing_left()

    def test_all(self) -> None:
        """If all are cancelled, no transaction begins."""
        for each in self.submit("a", "B", turn=False):
            each.cancel()
            self.failureResultOf(each, CancelledError)
        self.clock.advance(0)
        self.assertEqual(self.transactions, [])
        self.assert_nothing_left()

    def test_one_cancels_another(self) -> None:
        """Whoever is told that the store is away may cancel what waits beside."""
        self.submit("A")
        b, c = self.submit("b", "c")
        b.addErrback(lambda _: c.cancel())
        self.fail_with(AWAY)
        self.successResultOf(b)
        self.failureResultOf(c, CancelledError)
        self.clock.advance(0.1)
        self.assertEqual(self.transactions[1:], [["A"]])

    def test_while_away(self) -> None:
        """The store is tried again, also if what waited for it is cancelled meanwhile."""
        (done,) = self.submit("A")
        self.fail_with(AWAY)
        done.cancel()
        self.failureResultOf(done, CancelledError)
        self.clock.advance(0.1)
        self.assertEqual(self.transactions[1:], [["None"]])
        self.commit()
        self.assertTrue(self.group.is_up)
        self.assert_nothing_left()

    def test_too_slow(self) -> None:
        """An operation waits 5 s for its commit, whether its transaction runs or not. What must succeed waits on."""
        (a,), (b, c) = self.submit("a"), self.submit("b", "C")
        self.clock.advance(4.9)
        self.assertNoResult(a)
        self.clock.advance(0.1)
        self.assert_unavailable(a, b, detail="too slow")
        self.commit()
        self.assertEqual(self.transactions[1:], [["C"]])
        self.commit()
        self.assertEqual(self.successResultOf(c), "C")
        self.assert_nothing_left()


class IsolationTests(GroupCommitTestCase):
    """One operation that the database does not take."""

    def setUp(self) -> None:
        super().setUp()
        self.begin()

    def test_alone(self) -> None:
        """The operations are repeated one by one in their order, and only the one at fault fails."""
        a, b, c = self.submit("a", "b", "c")
        self.fail_with(DATA)
        self.commit()
        self.fail_with(DATA)
        self.commit()
        self.assertEqual(self.transactions, [["a", "b", "c"], ["a"], ["b"], ["c"]])
        self.assertEqual([self.successResultOf(each) for each in (a, c)], ["a", "c"])
        self.assert_unavailable(b, detail="does not take this request")
        self.assertEqual((self.changes, self.group.is_up), (["up"], True))
        self.assert_nothing_left()

    def test_before_what_came_later(self) -> None:
        """What arrived while the operations are repeated one by one comes after them, as one group."""
        self.submit("a", "b")
        self.submit("c", "d")
        self.fail_with(DATA)
        self.commit()
        self.commit()
        self.assertEqual(self.transactions, [["a", "b"], ["a"], ["b"], ["c", "d"]])

    def test_answer_in_its_place(self) -> None:
        """A result that cannot be stored becomes a failure; if that cannot be stored either, no record is restored."""
        (done,) = self.submit("x", turn=False)
        done.cancel()
        self.failureResultOf(done, CancelledError)
        done = self.group.submit(Finish(outcome("A", restored=record("A"))))
        self.clock.advance(0)
        seen = []
        for _ in range(2):
            self.fail_with(DATA)
            (operation,) = self.operations
            assert isinstance(operation, Finish)
            seen.append((operation.outcome.status, operation.outcome.result.status, operation.outcome.restored))
        self.assertEqual(seen, [(Status.FAILED, 502, record("A")), (Status.FAILED, 502, None)])
        self.commit()
        self.assertEqual(self.successResultOf(done), "A")

    def test_never_taken(self) -> None:
        """If even that is not taken, it is the store that has failed: the operation is tried again later."""
        (done,) = self.submit("A")
        for _ in range(2):
            self.fail_with(DATA)
        self.assertFalse(self.group.is_up)
        self.clock.advance(0.1)
        self.commit()
        self.assertEqual(self.successResultOf(done), "A")

    def test_store_goes_away(self) -> None:
        """If the store goes away meanwhile, what is left waits in its order, and what may fail fails at once."""
        done = self.submit("A", "B", "C", "d", "E")
        later = self.submit("F", "g")
        self.fail_with(DATA)
        self.commit()
        self.fail_with(AWAY)
        self.assertEqual(self.successResultOf(done[0]), "A")
        self.assert_unavailable(done[3], later[1], detail="away")
        self.clock.advance(0.1)
        self.assertEqual(self.transactions[1:], [["A"], ["B"], ["B", "C", "E", "F"]])
        self.commit()
        self.assertEqual([self.successResultOf(done[number]) for number in (1, 2, 4)], ["B", "C", "E"])
        self.assertEqual(self.successResultOf(later[0]), "F")
        self.assert_nothing_left()

    def test_given_up_meanwhile(self) -> None:
        """What is cancelled or too slow before its own transaction begins is not done."""
        _, b, c, _ = self.submit("a", "b", "C", "D")
        self.fail_with(DATA)
        c.cancel()
        self.failureResultOf(c, CancelledError)
        self.clock.advance(5)
        self.assert_unavailable(b, detail="too slow")
        self.commit()
        self.assertEqual(self.transactions[1:], [["a"], ["D"]])

    def test_probe(self) -> None:
        """A probe that is not taken means that the store is away. It tells when that is known."""
        known = self.group.probe()
        self.clock.advance(0)
        self.assertNoResult(known)
        self.fail_with(DATA)
        self.assertFalse(self.group.is_up)
        self.assertIsNone(self.successResultOf(known))
