"""Groups of operations while the store is away, at its end, and how it is found out whether it is there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from provider_gateway.store.operations import Add, Finish, Probe
from tests.support.stores import outcome, record
from tests.unit.store.base import AWAY, DATA, GroupCommitTestCase

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred


class AwayTests(GroupCommitTestCase):
    """A store that is away."""

    def test_at_first(self) -> None:
        """At first the store is away: what may fail fails, what must succeed finds out whether it is there."""
        self.assertFalse(self.group.is_up)
        self.assert_unavailable(*self.submit("a"), detail="away")
        (done,) = self.submit("B")
        self.assertEqual(self.transactions, [["B"]])
        self.commit()
        self.assertEqual((self.successResultOf(done), self.changes), ("B", ["up"]))
        self.assertTrue(self.group.is_up)

    def test_told_once(self) -> None:
        """Each change is told once, when the answers are not given yet."""
        self.begin()
        done = self.submit("A")
        for seconds in (0.1, 0.2, 0.4):
            self.fail_with(AWAY)
            self.clock.advance(seconds)
        self.assertEqual(self.changes, ["up", AWAY])
        self.commit()
        self.assertEqual((self.changes, self.successResultOf(done[0])), (["up", AWAY, "up"], "A"))

    def test_back_off(self) -> None:
        """Attempts are further apart each time, up to 5 s; after a commit the pauses begin anew."""
        self.begin()
        self.submit("A")
        for _ in range(2):
            for pause in (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5, 5):
                self.fail_with(AWAY)
                self.clock.advance(pause - 0.01)
                self.assertIsNone(self.running, pause)
                self.clock.advance(0.011)
                self.assertIsNotNone(self.running, pause)
            self.submit("C")
            self.commit()
        self.commit()
        self.assert_nothing_left()

    def test_nobody_waits(self) -> None:
        """The store is tried until it is there again, though nobody waits for it; a probe beside that asks nothing."""
        self.begin()
        self.assert_unavailable(*self.fail_one("a"), detail="away")
        self.group.probe()
        for pause in (0.1, 0.2):
            self.clock.advance(pause)
            self.fail_with(AWAY)
        self.clock.advance(0.4)
        self.commit()
        self.assertEqual(self.transactions, [["a"], ["None"], ["None"], ["None"]])
        self.assertTrue(self.group.is_up)
        self.assert_nothing_left()

    def fail_one(self, name: str) -> list[Deferred[Any]]:
        done = self.submit(name)
        self.fail_with(AWAY)
        return done

    def test_order(self) -> None:
        """What must succeed keeps its place before all that came later."""
        self.begin()
        self.submit("A", "B")
        self.submit("C")
        self.fail_with(AWAY)
        self.submit("D")
        self.clock.advance(0.1)
        self.assertEqual(self.transactions[1:], [["A", "B", "C", "D"]])

    def test_stuck(self) -> None:
        """A transaction is interrupted after 5 s, the next ones after twice as long, up to 60 s; then 5 s again."""
        self.begin()
        self.submit("A")
        for limit in (5, 10, 20, 40, 60, 60):
            begun = self.clock.seconds()
            self.clock.advance(limit - 0.1)
            self.assertEqual(self.interrupts, [])
            self.clock.advance(0.2)
            self.assertEqual([round(when - begun, 1) for when in self.interrupts], [limit + 0.1])
            self.interrupts.clear()
            self.fail_with(AWAY)
            self.clock.advance(5)
        self.commit()
        self.submit("B")
        self.clock.advance(5)
        self.assertEqual(len(self.interrupts), 1)
        self.commit()

    def test_listener_fails(self) -> None:
        """If whoever is told of a change fails, that is logged, and everybody gets an answer."""
        self.begin()

        def fails(_: object) -> None:
            msg = "told"
            raise RuntimeError(msg)

        self.patch(self.group, "_changed", fails)
        a, b = self.submit("a", "B")
        self.fail_with(AWAY)
        self.assert_unavailable(a, detail="away")
        self.clock.advance(0.1)
        self.commit()
        self.assertEqual(self.successResultOf(b), "B")
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 2)
        self.assert_nothing_left()


class CloseTests(GroupCommitTestCase):
    """The end."""

    def setUp(self) -> None:
        super().setUp()
        self.begin()

    def test_idle(self) -> None:
        """Without work it is closed at once, and takes nothing more."""
        self.successResultOf(self.group.close(5))
        self.assert_unavailable(*self.submit("a", "B"), detail="closed")
        self.group.probe()
        self.assert_nothing_left()
        self.assertEqual(self.transactions, [])

    def test_pending(self) -> None:
        """What waits is committed before it is closed."""
        done = self.submit("a") + self.submit("B", "c")
        closed = self.group.close(5)
        self.commit()
        self.assertNoResult(closed)
        self.commit()
        self.successResultOf(closed)
        self.assertEqual([self.successResultOf(each) for each in done], ["a", "B", "c"])
        self.assert_nothing_left()

    def test_before_its_turn(self) -> None:
        """What was submitted in the same turn is committed, too."""
        (done,) = self.submit("a", turn=False)
        closed = self.group.close(5)
        self.clock.advance(0)
        self.commit()
        self.successResultOf(closed)
        self.assertEqual(self.successResultOf(done), "a")

    def test_interrupted(self) -> None:
        """A transaction that is not done in time is interrupted; it fails, and so does what waits behind it."""
        done = self.submit("A") + self.submit("B", "c")
        closed = self.group.close(3)
        self.clock.advance(3)
        self.assertEqual(len(self.interrupts), 1)
        self.fail_with(AWAY)
        self.successResultOf(closed)
        self.assert_unavailable(*done[:2], detail="closed")
        self.assert_unavailable(done[2], detail="away")
        self.assert_nothing_left()

    def test_while_away(self) -> None:
        """A store that is away is tried once more, without a pause; what must succeed fails then."""
        (done,) = self.submit("A")
        for pause in (0.1, 0.2, 0.4, 0.8, 1.6):
            self.fail_with(AWAY)
            self.clock.advance(pause)
        self.fail_with(AWAY)
        closed = self.group.close(5)
        self.assertEqual(len(self.transactions), 7)
        self.fail_with(AWAY)
        self.successResultOf(closed)
        self.assert_unavailable(done, detail="closed")
        self.assert_nothing_left()

    def test_isolating(self) -> None:
        """If one operation is to blame, the others are committed; the store that goes away then fails the rest."""
        done = self.submit("A", "B", "C")
        closed = self.group.close(5)
        self.fail_with(DATA)
        self.commit()
        self.fail_with(AWAY)
        self.successResultOf(closed)
        self.assertEqual(self.successResultOf(done[0]), "A")
        self.assert_unavailable(*done[1:], detail="closed")
        self.assert_nothing_left()


class ProbeTests(GroupCommitTestCase):
    """Finding out whether the store is there."""

    def test_once(self) -> None:
        """While one is asked for, and while anything is committed, no other probe begins."""
        self.group.probe()
        self.group.probe()
        self.clock.advance(0)
        self.group.probe()
        self.commit()
        self.assertEqual(self.transactions, [["None"]])
        self.submit("a")
        self.group.probe()
        self.commit()
        self.assertEqual(self.transactions, [["None"], ["a"]])
        self.assert_nothing_left()

    def test_with_others(self) -> None:
        """Operations that arrive with a probe share its transaction."""
        done = self.group.submit(Probe())
        added = self.group.submit(Finish(outcome("A")))
        self.clock.advance(0)
        self.assertEqual(self.transactions, [["None", "A"]])
        self.commit()
        self.assertEqual([self.successResultOf(each) for each in (done, added)], [None, "A"])

    def test_add(self) -> None:
        """An operation that may fail is taken once the store is there."""
        self.assert_unavailable(self.group.submit(Add(record("a"))), detail="away")
        self.begin()
        done = self.group.submit(Add(record("a")))
        self.clock.advance(0)
        self.commit()
        self.assertEqual(self.successResultOf(done), "a")
