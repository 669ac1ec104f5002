"""Requests whose answers are kept, on their way through a whole process, with a store in memory."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred

from provider_gateway.results.unconfirmed import EXPIRES_AFTER
from provider_gateway.store.records import Status
from tests.support.memory_store import MemoryStore
from tests.support.observability import counted
from tests.support.service import HTTP
from tests.unit.app.base import ASYNC, KeptTestCase

if TYPE_CHECKING:
    from tests.support.http_client import Client


class WayTestCase(KeptTestCase):
    """Looks at the store and at the queues."""

    def document(self, client: Client) -> Any:
        return json.loads(self.answered(client).body)

    def only(self) -> tuple[str, Status]:
        """Id and status of the only record."""
        ((id_, record),) = self.store.records.items()
        return id_, record.status


class StartTests(WayTestCase):
    """The start of a process whose store takes its time."""

    def make_store(self) -> MemoryStore:
        store = MemoryStore()
        self.opened = store.opened = Deferred()
        return store

    def begin(self, **settings: Any) -> None:
        self.begin_to_start(**settings)

    def test_store_comes_first(self) -> None:
        """No request is accepted before it is known whether the store is there: else the first ones would get 503."""
        self.assertEqual((self.ports(), self.service.waiting_for()), ([], ["the process is starting"]))
        self.opened.callback(None)
        self.assertEqual((self.ports(), self.service.waiting_for()), ([HTTP], []))

    def ports(self) -> list[int]:
        """The HTTP listener's port, once it is there."""
        return [port for port, *_ in self.clock.tcpServers if port == HTTP]

    def test_stopped_meanwhile(self) -> None:
        """A process that is stopped before that stops at once."""
        self.service.stopService()
        self.advance(1)
        self.assertEqual((self.ports(), self.fatal), ([], []))


class KeptTests(WayTestCase):
    """What becomes of requests."""

    def test_plain(self) -> None:
        """A plain request that is answered in time leaves nothing in the store, and does not ask it."""
        client = self.post()
        self.answer()
        self.assertEqual((self.answered(client).status, self.store.calls), (200, []))
        self.assert_settled()

    def test_asynchronous(self) -> None:
        """An asynchronous request gets 202, and its answer is stored when the model has made it."""
        accepted = self.answered(self.post(b"[1]", "/v1/predict", ASYNC))
        self.assertEqual((accepted.status, self.only()[1]), (202, Status.PENDING))
        self.advance(900)
        self.answer(200, b"13")
        id_, status = self.only()
        self.assertEqual((status, self.store.results[id_].body), (Status.SUCCEEDED, b"13"))
        self.assertEqual(accepted.headers["location"], f"/v1/requests/{id_}")
        self.assertEqual(counted(self.metrics.replies, "stored"), 1)
        self.assert_settled()

    def test_late_answer(self) -> None:
        """At 504 the record is committed before the caller is answered; the late answer is stored."""
        client = self.post()
        self.store.slow = {"add"}
        self.advance(90)
        self.assertEqual((self.only()[1], client.responses()), (Status.PENDING, []))
        self.store.catch_up()
        answer = self.answered(client)
        id_, _ = self.only()
        self.assertEqual((answer.status, answer.headers["location"]), (504, f"/v1/requests/{id_}"))
        self.assertEqual((self.document(client)["request_id"], self.document(client)["uid"]), (id_, id_))
        self.answer(200, b"13")
        self.assertEqual((self.only()[1], self.store.results[id_].body), (Status.SUCCEEDED, b"13"))
        self.assertEqual([counted(self.metrics.replies, kind) for kind in ("late", "stored")], [1, 1])
        self.assert_settled()

    def test_unconfirmed(self) -> None:
        """A record expires soon if the broker has not confirmed its message when the caller gets 504, until it does."""
        left = []
        for is_held in (False, True):
            if is_held:
                self.broker.faults.hold_confirms()
            client = self.post()
            self.advance(90)
            self.assertEqual(self.answered(client).status, 504)
            left.append(self.left())
            self.broker.faults.release_confirms()
            self.pump()
            left.append(self.left())
            self.store.records.clear()
        self.assertEqual([round(each, -2) for each in left], [86_400, 86_400, EXPIRES_AFTER, 86_400])

    def left(self) -> float:
        """Seconds that the only record has."""
        return self.store.records[self.only()[0]].expires - self.wall_clock()

    def test_answer_while_the_record_is_made(self) -> None:
        """An answer that comes between the end of the time and the commit of the record is kept, not overwritten."""
        client = self.post()
        self.store.slow = {"add"}
        self.advance(90)
        self.answer(200, b"13")
        self.store.catch_up()
        self.assertEqual(self.answered(client).status, 504)
        self.assertEqual(self.only()[1], Status.SUCCEEDED)
        self.assert_settled()

    def test_expired_unstarted(self) -> None:
        """A message that nobody started in time makes its record expire."""
        clients = [self.post() for _ in range(3)]  # the model takes two
        self.advance(90)
        self.answer(number=0)
        self.answer(number=1)
        self.pump()
        self.assertEqual({self.answered(each).status for each in clients}, {504})
        statuses = sorted(record.status for record in self.store.records.values())
        self.assertEqual(statuses, [Status.EXPIRED, Status.SUCCEEDED, Status.SUCCEEDED])
        self.assert_settled()

    def test_store_away(self) -> None:
        """While the store is away, plain requests are served, with a plain 504; asynchronous ones get 503."""
        self.store.go_away()
        self.pump()
        client = self.post()
        self.answer()
        self.assertEqual(self.answered(client).status, 200)
        refused = self.post(b"[1]", "/v1/predict", ASYNC)
        self.assertEqual(
            (self.answered(refused).status, self.document(refused)["type"][-17:]), (503, "store-unavailable")
        )
        client = self.post()
        self.advance(90)
        self.assertEqual(self.answered(client).status, 504)
        self.assertNotIn("location", self.answered(client).headers)
        self.assertEqual((self.service.waiting_for(), self.service.degraded()), ([], ["the result store is away"]))

    def test_parked(self) -> None:
        """A message that is parked makes its record "parked", with the attempts that were made."""
        self.post(b"[1]", "/v1/predict", ASYNC)
        for _ in range(3):
            self.answer(500)
            self.advance(60)
        id_, status = self.only()
        self.assertEqual((status, self.store.records[id_].attempts), (Status.PARKED, 3))
        self.assertEqual(self.store.results[id_].status, 502)

    def test_connections_break(self) -> None:
        """An asynchronous request survives the loss of all connections between any two steps."""
        self.post(b"[1]", "/v1/predict", ASYNC)
        self.break_connections()
        self.advance(10)
        for number in range(len(self.calls)):
            self.answer(200, b"13", number)
        self.break_connections()
        self.advance(10)
        self.assertEqual(self.only()[1], Status.SUCCEEDED)
        self.assert_settled()


class StopTests(WayTestCase):
    """The process stops."""

    def test_abandoned(self) -> None:
        """A request that still waits at the end of the drain is recorded before its caller gets 504."""
        client = self.post()
        stopping = self.service.stopService()
        self.advance(120)
        self.successResultOf(stopping)
        answer = self.answered(client)
        self.assertEqual((answer.status, self.only()[1]), (504, Status.PENDING))
        self.assertEqual(answer.headers["location"], f"/v1/requests/{self.only()[0]}")

    def test_publishes_are_finished(self) -> None:
        """What is published again, after its caller got 504, may be confirmed before the connections are closed."""
        results = self.service._kept.results
        for is_confirmed in (True, False):
            idle: Deferred[None] = Deferred()
            self.patch(results, "idle", lambda idle=idle: idle)
            closing = Deferred.fromCoroutine(self.service._gateway.close())
            self.pump()
            self.assertNoResult(closing)
            idle.callback(None) if is_confirmed else closing.cancel()
            self.pump()
            self.assertTrue(closing.called)
            closing.addErrback(lambda failure: failure.trap(CancelledError))

    def test_store_is_closed_last(self) -> None:
        """The store is closed when both connections to the broker are."""
        closed: list[list[bool]] = []
        close = self.store.close

        def note(seconds: float) -> Any:
            self.assertTrue(0 < seconds < 1)  # the process waits for a second at most
            closed.append([link.at_client.ended for link in self.links[self.first_link :]])
            return close(seconds)

        self.patch(self.store, "close", note)
        stopping = self.service.stopService()
        self.advance(120)
        self.successResultOf(stopping)
        self.assertEqual(closed, [[True, True]])

    def test_long_poll(self) -> None:
        """A wait for an answer ends at a drain with 202."""
        client = self.post(b"[1]", "/v1/predict", "Prefer: wait=60")
        self.assertEqual(client.responses(), [])
        stopping = self.service.stopService()
        self.pump()
        self.assertEqual(self.answered(client).status, 202)
        self.advance(120)
        self.successResultOf(stopping)
