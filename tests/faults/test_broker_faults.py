"""Faults of the broker under load; the numbers are rows of the fault matrix."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from tests.faults.base import FaultTestCase, echo_after, memory

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.faults.callers import HTTPCallers
    from tests.faults.load import AMQPInitiator
    from tests.support.processes import Gateway

#: The prefetch: the number of messages that one fault can duplicate at most.
PREFETCH = 20
MODEL_SECONDS = 0.25
#: Requests per second, over AMQP and over HTTP each.
RATE = 30
#: The longest time, in seconds, that counts as "at once".
AT_ONCE = 1.0
MEGABYTE = 1024 * 1024
#: Messages for a queue whose prefetch is 1.
WORK = 6


def after(event: Deferred[None], body: bytes) -> Deferred[tuple[int, bytes]]:
    """The response 200 with this body, after a Deferred has fired."""
    answer: Deferred[tuple[int, bytes]] = Deferred()
    event.addCallback(lambda _: answer.callback((200, body)))
    return answer


class LoadTestCase(FaultTestCase):
    """A gateway with both roles, and load on it from an AMQP initiator and HTTP callers."""

    async def loaded(
        self, *, arguments: dict[str, Any] | None = None, more: list[dict[str, Any]] | None = None, **variables: str
    ) -> Gateway:
        """Start a gateway, its work queue with these arguments, and the load; returns when requests are confirmed."""
        self.model.answer = echo_after(MODEL_SECONDS)
        entries = [self.entry(prefetch=PREFETCH, argQueue=arguments), *(more or [])]
        gateway = await self.start(entries=entries, **variables).ready()
        self.amqp: AMQPInitiator = self.initiator(rate=RATE)
        self.http: HTTPCallers = await self.callers(gateway, rate=RATE)
        self.run_load()
        await self.confirmed(RATE)
        return gateway

    def run_load(self) -> None:
        """Start the load of both kinds; it runs until :meth:`finish`."""
        self.running = [self.amqp.publish(), self.http.call()]

    async def idle(self) -> None:
        """Stop the load and wait for the outcomes of what was sent."""
        self.amqp.stop()
        self.http.stop()
        for each in self.running:
            await each

    async def finish(self, faults: int = 1) -> None:
        """Stop the load, drain, and check the ledger."""
        await self.confirmed(RATE)
        await self.idle()
        await self.drained()
        self.ledger.check(self, duplicates_at_most=faults * PREFETCH)
        self.assertTrue(self.ledger.statuses[200])

    def hold(self) -> Deferred[None]:
        """Delay the model's responses until the test fires the Deferred."""
        released: Deferred[None] = Deferred()
        before = self.model.answer
        self.model.answer = lambda body: after(released, body)

        def release(_: None) -> None:
            self.model.answer = before

        return released.addCallback(release)

    async def at_node(self, act: Callable[..., Any], *arguments: str) -> None:
        """Call a function of the node in a thread."""
        await deferToThread(act, *arguments)


class LostConnectionTests(LoadTestCase):
    """The broker, or the connections to it, end and come back."""

    async def test_01_killed(self) -> None:
        """Broker SIGKILL under load, restarted: both connections and the consumer are back; nothing is lost."""
        gateway = await self.loaded()
        back = self.reconnected(gateway)
        await self.at_node(self.node.kill)
        await self.until("503", lambda: self.http.statuses[503])
        await self.at_node(self.node.start)
        await back
        await self.finish()
        self.assertEqual(await self.consumers(), 1)

    async def test_02_stopped_in_order(self) -> None:
        """stop_app and start_app under load: both connections and the consumer are back; nothing is lost."""
        gateway = await self.loaded()
        back = self.reconnected(gateway)
        await self.at_node(self.node.stop_app)
        await self.until("503", lambda: self.http.statuses[503])
        await self.at_node(self.node.start_app)
        await back
        await self.finish()
        self.assertEqual(await self.consumers(), 1)

    async def test_03_suspended(self) -> None:
        """Broker SIGSTOP under load: 504 by the deadline, flat memory, the dead connections are noticed; then SIGCONT.

        Heartbeats of 2 s instead of a stop of 30 s: pika looks every 7 s, and a silent connection fails two looks.
        """
        gateway = await self.loaded(RMQ_URL=f"{self.node.url}?heartbeat=2", REPLY_TIMEOUT="2")
        before, answered = memory(gateway), len(self.http.answers)
        silent = ("publish is lost: no heartbeat", "consume is lost: no heartbeat")
        back = self.reconnected(gateway)
        lost = self.logged_again(gateway, *silent, seconds=20)
        await self.at_node(self.node.suspend)
        await self.until("504", lambda: self.http.statuses[504])
        await lost
        await self.until("503", lambda: self.http.statuses[503])
        self.assertLess(abs(memory(gateway) - before), 20 * MEGABYTE)
        slowest = max(seconds for _, seconds in self.http.answers[answered:])
        self.assertLess(slowest, 2 + AT_ONCE)
        await self.at_node(self.node.resume)
        await back
        await self.finish()
        self.assertEqual(await self.consumers(), 1)

    async def test_11_connections_closed(self) -> None:
        """close_all_connections under load: both connections reconnect, the consumers are back, nothing is lost."""
        gateway = await self.loaded()
        back = self.reconnected(gateway)
        await self.at_node(self.node.control, "close_all_connections", "for the test")
        await back
        await self.finish()
        self.assertEqual(await self.consumers(), 1)


class AlarmTests(LoadTestCase):
    """The broker blocks publishers, and goes on delivering."""

    async def test_04_memory_alarm(self) -> None:
        """Memory alarm under load: 503 at once while blocked, deliveries go on, service resumes afterwards."""
        await self.alarm("memory")

    async def test_05_disk_alarm(self) -> None:
        """Disk alarm under load: 503 at once while blocked, deliveries go on, service resumes afterwards."""
        await self.alarm("disk")

    async def test_04_process_killed_while_blocked(self) -> None:
        """SIGKILL of the process while the model's answers cannot be published: the next process serves them again.

        Only a broker that blocks for long shows that an acknowledgement waits for the reply's confirm.
        """
        gateway = await self.loaded()
        await self.at_node(self.node.raise_alarm, "memory")
        await self.until("503s", lambda: self.http.statuses[503] > RATE)  # the model has answered by now
        gateway.signal("KILL")
        await gateway.when_ended()
        await self.at_node(self.node.clear_alarm, "memory")
        await self.idle()
        self.http = await self.callers(await self.start(entries=[self.entry()]).ready(), rate=RATE)
        self.run_load()
        await self.finish()

    async def alarm(self, kind: str) -> None:
        """Raise this alarm while an entry without replyTo has messages to deliver one by one."""
        work = f"{self.queue}.work"
        self.work_queues.append(work)
        worker = {"topic": "", "queueName": work, "prefetch": 1}
        gateway = await self.loaded(more=[worker])
        released, served = self.hold_work(WORK)

        def publish_work(channel: Any) -> None:
            for number in range(WORK):
                channel.basic_publish("", work, json.dumps({"work": number}).encode(), mandatory=True)

        await self.on_channel(publish_work)
        blocked = self.logged_again(gateway, "blocks publishers")
        await self.at_node(self.node.raise_alarm, kind)
        await blocked
        released.callback(None)
        await served
        await self.until("503", lambda: self.http.statuses[503])
        answered = len(self.http.answers)
        await self.until("more answers", lambda: len(self.http.answers) > answered + 20)
        during = self.http.answers[answered:]
        self.assertEqual({status for status, _ in during}, {503})
        self.assertLess(max(seconds for _, seconds in during), AT_ONCE)
        self.assertEqual(set(self.http.problems), {"broker-blocked"})
        status, _ = await self.admin(gateway, "/health/ready")
        self.assertEqual(status, 503)
        unblocked = self.logged_again(gateway, "accepts messages again")
        await self.at_node(self.node.clear_alarm, kind)
        await unblocked
        await self.finish()

    def hold_work(self, count: int) -> tuple[Deferred[None], Deferred[None]]:
        """Make the model hold the calls for a queue that is no part of the load.

        Returns:
            The Deferred that releases the calls, and one that fires with the last call.
        """
        released: Deferred[None] = Deferred()
        served: Deferred[None] = Deferred()
        echo, calls = self.model.answer, []

        def answer(body: bytes) -> Any:
            if b"work" not in body:
                return echo(body)
            calls.append(body)
            if len(calls) == count:
                served.callback(None)
            return after(released, body)

        self.model.answer = answer
        return released, served


class TopologyTests(LoadTestCase):
    """Another program changes exchanges, queues and bindings."""

    async def test_12_queue_deleted(self) -> None:
        """The work queue is deleted during deliveries: these are replied; it is declared and consumed again."""
        gateway = await self.loaded()
        await self.idle()
        await self.drained()
        held = self.hold()
        asked = self.model.asked(len(self.model.requests) + 10)
        publishing = [self.amqp.publish(5), (await self.callers(gateway)).call(5)]
        await asked
        again = self.logged_again(gateway, f"{self.queue} is consumed again")
        await self.on_channel(lambda channel: channel.queue_delete(self.queue))
        self.run_load()
        await again
        held.callback(None)
        for each in publishing:
            await each
        await self.finish()
        self.assertEqual(await self.consumers(), 1)

    async def test_13_binding_removed(self) -> None:
        """The binding is removed under load: 404 or returned, at once; bound again, requests are served."""
        await self.loaded()
        await self.on_channel(lambda channel: channel.queue_unbind(self.queue, self.exchange, "predict.*"))
        await self.until("404", lambda: self.http.statuses[404] > 10)
        await self.on_channel(lambda channel: channel.queue_bind(self.queue, self.exchange, "predict.*"))
        await self.finish(faults=0)
        self.assertEqual(set(self.http.statuses), {200, 404})
        self.assertLess(max(seconds for _, seconds in self.http.answers), AT_ONCE)

    async def test_13_exchange_deleted(self) -> None:
        """The exchange is deleted under load: 404, 503 or 504 at once; the gateway declares it again."""
        gateway = await self.loaded()
        again = self.logged_again(gateway, "The publishing channel is open again")
        await self.on_channel(lambda channel: channel.exchange_delete(self.exchange))
        await again
        await self.finish()
        self.assertLessEqual(set(self.http.statuses), {200, 404, 503, 504})
        self.assertGreater(len(self.http.statuses), 1)
        self.assertLess(max(seconds for _, seconds in self.http.answers), AT_ONCE)

    async def test_14_other_arguments(self) -> None:
        """The queue exists with other arguments: the start is refused with the argument's name, status 1, one line."""
        await self.on_channel(lambda c: c.queue_declare(self.queue, durable=True, arguments={"x-max-length": 10}))
        gateway = self.start()
        self.assertEqual(await gateway.when_ended(), 1)
        self.assertIn(f"queue '{self.queue}'", gateway.errors)
        self.assertIn("x-max-length", gateway.errors)
        self.assertEqual(gateway.errors.count("\n"), 1)

    async def test_15_queue_full(self) -> None:
        """The queue is full and rejects: 503 at once, or nacked; with room again, requests are served."""
        await self.loaded(arguments={"x-max-length": 5, "x-overflow": "reject-publish"})
        held = self.hold()
        await self.until("503", lambda: self.http.statuses[503] > 10)
        self.assertEqual(set(self.http.problems), {"message-refused"})
        quick = [seconds for status, seconds in self.http.answers if status == 503]
        self.assertLess(max(quick), AT_ONCE)
        held.callback(None)
        await self.finish(faults=0)
        self.assertEqual(set(self.http.statuses), {200, 503})
