"""A reply or copy cannot be published, or its caller is gone; the numbers are rows of the fault matrix."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pika
from twisted.internet.threads import deferToThread

from tests.faults.ledger import Outcome, fresh_id
from tests.faults.serving import AT_ONCE, SOME, LoadedTestCase, pause

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from tests.support.processes import Gateway


class GoneCallerTests(LoadedTestCase):
    """The caller is gone."""

    async def test_21_reply_queue_gone(self) -> None:
        """The caller's exclusive queue is gone: results and errors are parked as "reply"; the model is called once."""
        gateway = await self.serve().ready()
        await self.load(gateway)
        for prepare in (lambda: None, self.fail_odd):
            prepare()
            held = self.hold()
            connection = await deferToThread(pika.BlockingConnection, pika.URLParameters(self.node.plain_url))
            requests = await deferToThread(self.ask_privately, connection)
            await self.look_until("calls", lambda requests=requests: self.called(requests))
            await deferToThread(connection.close)
            held.callback(None)
        await self.look_until("parked", lambda: self.has_waiting(f"{self.queue}.parking", 2 * SOME))
        parked = await self.parked()
        self.assertEqual(len(parked), 2 * SOME)
        self.assertEqual({headers["pg-reason"] for headers in parked.values()}, {"reply"})
        await self.balances()
        self.assertEqual({self.calls()[request] for request in parked}, {1})

    def ask_privately(self, connection: Any) -> list[str]:
        """Publish requests with an exclusive reply queue of this connection."""
        channel = connection.channel()
        channel.confirm_delivery()
        queue = channel.queue_declare("", exclusive=True).method.queue
        return self.publish_odd(channel, reply_to=queue)

    async def test_22_gateway_killed(self) -> None:
        """One of two gateways is killed while its callers wait: the other's callers are served, no reply is lost."""
        provider = self.serve("--role", "provider")
        one, other = self.serve("--role", "gateway"), self.serve("--role", "gateway", REPLY_TIMEOUT="2")
        for each in (provider, one, other):
            await each.ready()
        _, others = await self.load(other)
        ones = await self.callers(one)
        calling = ones.call()
        await self.until("answers", lambda: ones.statuses[200] > 10)
        one.signal("KILL")
        await self.until("refused", lambda: ones.statuses[0] > 10)
        ones.stop()
        await calling
        await self.confirmed(20)
        self.assertEqual(set(others.statuses), {200})
        self.assertLess(max(seconds for _, seconds in others.answers), AT_ONCE)
        others.stop()
        await self.running[1]
        # The caller does not wait; its reply is counted when it comes.
        held = self.hold()
        await others.call(SOME)
        self.assertEqual(others.statuses[504], SOME)
        held.callback(None)
        await self.look_until("late replies", lambda: self.late(other))
        for request in self.ledger.with_outcome(Outcome.UNKNOWN) & self.calls().keys():
            self.ledger.confirmed(request)  # accepted: the model was called for it
        self.note_late(other)
        self.running[1] = others.call()
        # A reply that the killed gateway passed on without acknowledging is still in its reply queue.
        await self.balances(faults=1)
        self.assertEqual(set(self.calls().values()), {1})

    async def late(self, gateway: Gateway) -> bool:
        return await self.metric(gateway, 'replies_total{kind="late"}') == SOME

    def note_late(self, gateway: Gateway) -> None:
        """Record in the ledger the replies that a gateway dropped because their callers had left."""
        for line in gateway.log:
            if line["message"] == "late reply dropped":
                self.ledger.replied(line["rquid"], 200)

    async def test_26_callers_leave(self) -> None:
        """HTTP callers leave while they wait: their places are free at once, and each message is settled."""
        gateway = await self.serve(MAX_IN_FLIGHT="50").ready()
        self.https = await gateway.port("https")
        await self.load(gateway)
        self.http.stop()
        await self.running[1]
        held = self.hold()
        leaving = [self.post_odd() for _ in range(50)]
        await self.look_until("50 in flight", lambda: self.in_flight(gateway, 50))
        refused, _ = await self.post(gateway, {})
        self.assertEqual(refused.code, 503)
        for each in leaving:
            each.cancel()
        await self.look_until("none in flight", lambda: self.in_flight(gateway, 0), AT_ONCE)
        hasty = [self.post_odd() for _ in range(20)]
        for number, each in enumerate(hasty):  # some leave before the publish, some before its confirm
            await pause(0.002 * number)
            each.cancel()
        await self.look_until("none in flight", lambda: self.in_flight(gateway, 0), AT_ONCE)
        held.callback(None)
        self.running[1] = self.http.call()
        await self.confirmed(20)
        self.assertEqual(set(self.http.statuses), {200})
        await self.balances()
        published = await self.metric(gateway, f'published_total{{exchange="{self.exchange}",outcome="confirmed"}}')
        ended = await self.metric(gateway, "replies_total") + await self.metric(gateway, "expired_total")
        self.assertEqual(published, ended)
        self.assertGreater(published, self.http.statuses[200] + 50 - 1)
        self.assertGreater(await self.metric(gateway, "expired_total"), 0)

    def post_odd(self) -> Deferred[Any]:
        """Call as an HTTP caller who leaves: the test cancels the Deferred."""
        request = fresh_id("odd")
        self.ledger.unknown(request)
        url = f"https://localhost:{self.https}/v1/predict"
        headers = {"Content-Type": "application/json", "routing-key": "predict.now", "RqUID": request}
        calling: Deferred[Any] = self.client.post(url, data=json.dumps({"id": request}).encode(), headers=headers)
        return calling.addErrback(lambda _: None)

    async def in_flight(self, gateway: Gateway, count: int) -> bool:
        return await self.metric(gateway, "http_in_flight") == count


class ParkingTests(LoadedTestCase):
    """The retry or parking queue does not take messages."""

    async def test_23_full(self) -> None:
        """The parking queue is full: its messages stay unacked, not ready, others are served; parked in the end."""
        gateway = await self.parking_gateway(maxAttempts=1)
        parking = f"{self.queue}.parking"
        full = json.dumps({"max-length": 1, "overflow": "reject-publish"})
        await self.control("set_policy", "full", f"^{parking}$", full, "--apply-to", "queues")
        requests = await self.on_channel(self.publish_odd)
        await self.look_until("not ready", lambda: self.is_waiting_for(gateway, parking))
        answered = self.ledger.statuses[200]
        await self.until("others answered", lambda: self.ledger.statuses[200] > answered + 40)
        self.assertLess(await self.waiting(parking), SOME)
        self.assertEqual({self.calls()[request] for request in requests}, {1})
        self.assertEqual((await self.ready(gateway))[0], 503)
        await self.control("clear_policy", "full")
        await self.look_until("parked", lambda: self.has_waiting(parking, SOME))
        await self.look_until("ready", lambda: self.is_ready(gateway))
        self.assertEqual(self.ledger.statuses[502], SOME)
        await self.balances()
        self.assertEqual({self.calls()[request] for request in requests}, {1})

    async def test_23_gone(self) -> None:
        """Parking and retry queue are deleted in use: they are declared again, and nothing is lost."""
        gateway = await self.parking_gateway(maxAttempts=2)
        parked: dict[str, dict[str, Any]] = {}
        for queue in (f"{self.queue}.retry", f"{self.queue}.parking"):
            held = self.hold()
            requests = await self.on_channel(self.publish_odd)
            await self.look_until("calls", lambda requests=requests: self.called(requests))
            await self.on_channel(lambda channel, queue=queue: channel.queue_delete(queue))
            held.callback(None)
            await self.look_until("parked", lambda: self.has_waiting(f"{self.queue}.parking", SOME))
            parked |= await self.parked()
        self.assertEqual({headers["pg-attempt"] for headers in parked.values()}, {2})
        await self.look_until("ready", lambda: self.is_ready(gateway))
        await self.balances()
        self.assertEqual({self.calls()[request] for request in parked}, {2})
        self.assertEqual(len(parked), 2 * SOME)

    async def parking_gateway(self, **keys: Any) -> Gateway:
        """Start a gateway with load; its model fails on the "odd" messages."""
        self.fail_odd()
        self.keys |= {"dle": True, "retryDelay": 300, **keys}
        gateway = await self.serve().ready()
        await self.load(gateway)
        return gateway

    def control(self, *arguments: str) -> Deferred[str]:
        """Run rabbitmqctl."""
        return deferToThread(self.node.control, *arguments)

    async def is_waiting_for(self, gateway: Gateway, queue: str) -> bool:
        status, text = await self.ready(gateway)
        return status == 503 and f"queue {queue}" in text

    async def is_ready(self, gateway: Gateway) -> bool:
        return (await self.ready(gateway))[0] == 200
