"""Waiting for results: whoever stores them, and whenever."""

from __future__ import annotations

from twisted.internet.defer import CancelledError

from provider_gateway.errors import StoreUnavailable
from provider_gateway.message.message import Message
from provider_gateway.results.outcomes import outcome_of
from provider_gateway.store.records import Status
from tests.unit.results.base import DONE, NOW, QUEUE, TTL, ResultsTestCase


class WaitingTests(ResultsTestCase):
    """Who waits, and what ends it."""

    def finish_quietly(self, id_: str) -> None:
        """Store an answer without a notice."""
        reply = Message(b"42", correlation_id=id_)
        self.finish_elsewhere(outcome_of(reply, NOW, ttl=TTL, max_body=100))

    def final(self, waiting: object) -> Status | None:
        record = self.successResultOf(waiting)  # type: ignore[arg-type] # a Deferred
        return None if record is None else record.status

    def test_stored_here(self) -> None:
        """A reply that this gateway stores ends all waits for it, without another look at the store."""
        id_ = self.pending().id
        waits = [self.wait(id_), self.wait(id_)]
        reads = self.store.calls.count("get")
        self.reply(id_)
        self.assertEqual([self.final(each) for each in waits], [Status.SUCCEEDED] * 2)
        self.assertEqual(self.store.calls.count("get"), reads)
        self.assertEqual(self.bindings(), [])

    def test_stored_elsewhere(self) -> None:
        """A notice of another gateway ends the wait. Each of several gateways hears it."""
        other, id_ = self.another(), self.pending().id
        waits = [self.wait(id_), self.start(other.results.wait(id_, 30))]
        self.reply(id_)
        self.assertEqual([self.final(each) for each in waits], [Status.SUCCEEDED] * 2)

    def test_stored_between_binding_and_read(self) -> None:
        """What is stored after the binding and before the read is seen at once."""
        id_ = self.pending().id
        bound = []
        get = self.store.get

        def finish_first(each: str) -> object:
            bound.extend(self.bindings())
            self.finish_quietly(each)
            return get(each)

        self.patch(self.store, "get", finish_first)
        self.assertEqual(self.final(self.wait(id_)), Status.SUCCEEDED)
        self.assertEqual(bound, [id_], "the record was read before the queue was bound")

    def test_stored_between_read_and_wait(self) -> None:
        """What is stored while the record is read, and after the database has seen it as pending, is seen.

        The queue is bound before the read, so that the notice comes while the answer of the read is on its way.
        """
        other, id_ = self.another(), self.pending().id
        self.lose(self.one.publishing)
        self.store.slow = {"get"}
        waiting = self.wait(id_)
        self.assertEqual(self.store.calls, ["get"])
        self.finish_quietly(id_)
        other.notices.notify(DONE, id_)
        self.pump()
        self.store.slow = set()
        self.store.catch_up()
        self.assertEqual(self.final(waiting), Status.SUCCEEDED)

    def test_not_in_time(self) -> None:
        """At the end of the time the record is given as it is; what was stored without a notice is seen then."""
        first, second = self.pending().id, self.pending().id
        waits = [self.wait(first), self.wait(second)]
        self.finish_quietly(second)
        self.advance(29.9)
        self.assertNoResult(waits[0])
        self.advance(0.1)
        self.assertEqual([self.final(each) for each in waits], [Status.PENDING, Status.SUCCEEDED])
        self.assertEqual((self.bindings(), self.clock.getDelayedCalls()), ([], []))

    def test_no_time(self) -> None:
        """A wait of no seconds reads the record once."""
        self.assertEqual(self.final(self.wait(self.pending().id, 0)), Status.PENDING)

    def test_unknown(self) -> None:
        """Nobody waits for a record that is not there."""
        self.assertIsNone(self.final(self.wait("0" * 32)))
        self.assertEqual(self.bindings(), [])

    def test_client_leaves(self) -> None:
        """Who leaves is forgotten, and the queue unbound with the last one."""
        id_ = self.pending().id
        waits = [self.wait(id_), self.wait(id_)]
        for each, bound in zip(waits, ([id_], []), strict=True):
            each.cancel()
            self.failureResultOf(each, CancelledError)
            self.pump()
            self.assertEqual(self.bindings(), bound)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_client_leaves_during_the_read(self) -> None:
        """Who leaves while the record is read is forgotten, too."""
        self.store.slow = {"get"}
        waiting = self.wait(self.pending().id)
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.pump()
        self.assertEqual(self.bindings(), [])

    def test_new_session(self) -> None:
        """On a new session everything that is awaited is bound and read again: notices may have been missed."""
        missed, later = self.pending().id, self.pending().id
        other = self.another()
        waits = [self.wait(missed), self.wait(later)]
        self.one.disconnect()
        self.reply(missed)
        self.assertNoResult(waits[0])
        self.one.connect()
        self.assertEqual(self.final(waits[0]), Status.SUCCEEDED)
        self.assertNoResult(waits[1])
        self.lose(self.one.publishing)
        self.finish_quietly(later)
        other.notices.notify(DONE, later)
        self.pump()
        self.assertEqual(self.final(waits[1]), Status.SUCCEEDED)

    def test_without_a_connection(self) -> None:
        """A wait that begins while there is no connection to the broker is bound and read when there is one."""
        id_ = self.pending().id
        self.one.disconnect()
        waiting = self.wait(id_)
        self.finish_quietly(id_)
        self.assertNoResult(waiting)
        self.one.connect()
        self.assertEqual(self.final(waiting), Status.SUCCEEDED)

    def test_erased(self) -> None:
        """Whoever waits for a request that is canceled is told, at each gateway. Providers are told once."""
        other, id_ = self.another(), self.pending().id
        self.make_queue("provider")
        self.other().queue_bind("provider", "response.canceled", "")
        waits = [self.wait(id_), self.start(other.results.wait(id_, 30))]
        erased = self.results.erase(id_, "ann")
        self.pump()
        self.assertEqual(self.successResultOf(erased).status, Status.PENDING)
        self.assertEqual([self.final(each) for each in waits], [Status.CANCELED] * 2)
        self.assertEqual(self.waiting("provider"), 1)

    def test_drain(self) -> None:
        """A drain ends long-polls, and those that begin then; others go on until everything is abandoned."""
        id_ = self.pending().id
        poll, call = self.wait(id_), self.wait(id_, ends_at_drain=False)
        self.results.drain()
        self.assertEqual(self.final(poll), Status.PENDING)
        self.assertEqual(self.final(self.wait(id_)), Status.PENDING)
        self.assertNoResult(call)
        self.results.abandon()
        self.assertEqual(self.final(call), Status.PENDING)
        self.pump()
        self.assertEqual((self.bindings(), self.clock.getDelayedCalls()), ([], []))

    def test_store_away(self) -> None:
        """A wait fails if the record cannot be read."""
        id_ = self.pending().id
        self.store.go_away()
        self.failureResultOf(self.wait(id_), StoreUnavailable)
        self.pump()
        self.assertEqual(self.bindings(), [])

    def test_nothing_polls(self) -> None:
        """A wait of an hour reads the record once before its end."""
        waiting = self.wait(self.pending().id, 3600)
        self.advance(3599)
        self.assertEqual(self.store.calls, ["get"])
        self.advance(1)
        self.successResultOf(waiting)

    def test_nobody_waits(self) -> None:
        """A notice that nobody waits for goes nowhere."""
        self.reply(self.pending().id)
        self.assertEqual(self.broker.vhost.queues[QUEUE].consumers[0].unacked, 0)
        self.assertEqual([name for name in self.broker.vhost.queues if self.waiting_at(name)], [])

    def waiting_at(self, name: str) -> int:
        return len(self.broker.vhost.queues[name])
