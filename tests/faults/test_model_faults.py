"""Faults of the model; the numbers are rows of the fault matrix."""

from __future__ import annotations

import json
import signal
import sys
from itertools import cycle
from typing import TYPE_CHECKING, Any

import pika
from twisted.internet import reactor
from twisted.web.server import Site

from devtools.ports import free_ports
from tests.faults.base import cpu, echo_after
from tests.faults.hostile import (
    answers,
    babbles,
    floods,
    hangs,
    resets,
    resets_within,
    resets_without_length,
    trickles,
    trickles_headers,
)
from tests.faults.ledger import fresh_id, id_in
from tests.faults.serving import AT_ONCE, LOOK, MODEL_SECONDS, PREFETCH, ServingTestCase, pause, peak_memory
from tests.support.folders import ROOT
from tests.support.processes import Process

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.trial.unittest import TestCase

    from tests.support.model_server import ModelServer
    from tests.support.processes import Gateway

#: Seconds for a model call.
TIMEOUT = 1.0
MEGABYTE = 1024 * 1024
TRIED_AGAIN = {"timeout": TIMEOUT, "dle": True, "retryDelay": 300, "maxAttempts": 2}
#: Messages that wait for a model that is away.
MANY = 1000
#: Seconds for which the process has to be idle.
IDLE = 2


class MisdeedTests(ServingTestCase):
    """The model misbehaves towards some requests and answers the others."""

    async def among_others(self, *misdeeds: Callable[..., None]) -> tuple[Gateway, dict[str, str]]:
        """Choose a misdeed for every second message of each kind of caller, at each of its attempts.

        Returns:
            The gateway, and the name of the misdeed for each such message.
        """
        self.keys |= {**TRIED_AGAIN, "prefetch": 2 * PREFETCH}
        gateway = await self.serve().ready()
        steps = [step for misdeed in misdeeds for step in (misdeed, None)]
        # Counted for each kind of caller: else all HTTP callers might be victims.
        turns = {"amqp": cycle(steps), "http": cycle(steps)}
        chosen: dict[str, Any] = {}

        def misdeed(body: bytes) -> Any:
            request = str(id_in(body))
            if request not in chosen:
                chosen[request] = next(turns[request.partition("-")[0]])
            return chosen[request]

        self.model.misdeed = misdeed
        self.model.answer = echo_after(MODEL_SECONDS)
        http = await self.callers(gateway)
        count = 2 * len(misdeeds)
        await self.all_of(self.initiator().publish(count), http.call(count))
        await self.until("all replied", lambda: sum(self.ledger.statuses.values()) == 2 * count)
        # No other message had to wait for these.
        self.assertLess(max(seconds for status, seconds in http.answers if status == 200), AT_ONCE)
        return gateway, {request: misdeed.__name__ for request, misdeed in chosen.items() if misdeed}

    async def balances(self) -> None:
        """Drain and check the ledger: these faults cause no duplicates."""
        await self.drained()
        self.ledger.check(self)

    async def test_18_fails(self) -> None:
        """Model hangs, trickles, resets, 500, 408: one deadline for the whole response, retries, parking, reply 502.

        Every other message is answered meanwhile.
        """
        reasons = {
            hangs: "timeout",
            trickles: "timeout",
            trickles_headers: "timeout",
            resets: "connection",
            resets_within: "body",
            resets_without_length: "body",
            answers(500): "status",
            answers(408): "status",
        }
        gateway, victims = await self.among_others(*reasons)
        parked = await self.parked()
        expected = {misdeed.__name__: (2, reason, self.queue) for misdeed, reason in reasons.items()}
        for request, name in victims.items():
            headers = parked[request]
            found = (headers["pg-attempt"], headers["pg-reason"], headers["pg-queue"])
            self.assertEqual(found, expected[name], name)
        self.assertEqual(parked.keys(), victims.keys())
        self.assertEqual(self.ledger.statuses, {200: len(victims), 502: len(victims)})
        calls = self.calls()
        self.assertEqual(len(calls), 2 * len(victims))
        for request, count in calls.items():
            # A reused connection that ends without an answer may have been idle for too long: it is sent once more.
            times = {2, 3, 4} if victims.get(request) == "resets" else {2} if request in victims else {1}
            self.assertIn(count, times, victims.get(request))
        self.assertEqual(await self.metric(gateway, "retried_total"), len(victims))
        self.assertEqual(await self.metric(gateway, "parked_total"), len(victims))
        timed_out = [request for request, name in victims.items() if expected[name][1] == "timeout"]
        slow = [seconds for name, seconds in self.model.seconds if expected[name][1] == "timeout"]
        self.assertEqual(len(slow), 2 * len(timed_out))  # every call has been closed
        self.assertGreater(min(slow), TIMEOUT - 0.1)
        self.assertLess(max(slow), TIMEOUT + 0.5)
        await self.balances()

    async def test_19_answers(self) -> None:
        """Model answers 4xx: passed on at once. Bytes that are not HTTP: a failure, parked after its attempts."""
        rejections = [answers(400), answers(404), answers(422)]
        _, victims = await self.among_others(*rejections, babbles)
        parked = await self.parked()
        self.assertEqual(parked.keys(), {request for request, name in victims.items() if name == "babbles"})
        self.assertEqual({(each["pg-attempt"], each["pg-reason"]) for each in parked.values()}, {(2, "connection")})
        self.assertEqual(self.ledger.statuses, {200: 8, 400: 2, 404: 2, 422: 2, 502: 2})
        await self.balances()

    async def test_19_huge(self) -> None:
        """Model answers with 200 MB: a failure at MAX_BODY_BYTES; the rest is never in the gateway's memory."""
        self.keys |= {"timeout": 20}
        gateway = await self.serve(MAX_BODY_BYTES=str(MEGABYTE)).ready()
        http = await self.callers(gateway)
        await self.all_of(http.call(10))
        self.model.misdeed = lambda _body: floods(200 * MEGABYTE)
        before = peak_memory(gateway)
        await self.all_of(http.call(5), self.initiator().publish(5))
        await self.until("told", lambda: self.ledger.statuses[502] == 10)
        self.assertLess(peak_memory(gateway) - before, 40 * MEGABYTE)
        self.assertLess(self.model.taken, 10 * 20 * MEGABYTE)  # the rest was not read
        self.assertEqual(await self.metric(gateway, f'model_requests_total{{queue="{self.queue}",result="body"}}'), 10)
        await self.balances()


class AbsenceTests(ServingTestCase):
    """The model is frozen or away, and comes back."""

    async def test_20_frozen(self) -> None:
        """Model SIGSTOP under load: calls up to the prefetch, the rest waits in the queue; then all are served."""
        command = [sys.executable, "-m", "benchmarks.instant_model"]
        model = Process.start(self, command, {"PATH": "/usr/bin:/bin"}, ROOT)
        url = await model.when(lambda: model.lines and model.lines[0])
        self.keys |= TRIED_AGAIN
        gateway = await self.serve(MODEL_URL=url).ready()
        amqp, http = self.initiator(), await self.callers(gateway)
        running = [amqp.publish(), http.call()]
        await self.until("answers", lambda: self.ledger.statuses[200] > 20)
        model.signal("STOP")
        for _ in range(15):
            await pause(LOOK)
            self.assertLessEqual(await self.metric(gateway, "deliveries_in_flight"), PREFETCH)
        self.assertGreater(await self.waiting(self.queue), PREFETCH)
        self.assertGreater(await self.metric(gateway, "retried_total"), 0)
        model.transport.signalProcess(signal.SIGCONT)
        await self.confirmed(20)
        amqp.stop()
        http.stop()
        await self.all_of(*running)
        await self.drained()
        self.ledger.check(self)

    async def test_28_away(self) -> None:
        """Model away while many messages wait: they stay in their queue, little CPU time, all are served later."""
        [port] = free_ports(1)
        self.keys |= {"prefetch": 100, "dle": True, "maxAttempts": 1}
        await self.on_channel(self.publish_many)
        gateway = await self.serve("--role", "provider", MODEL_URL=f"http://127.0.0.1:{port}/predict").ready()
        self.initiator()  # consumes the replies
        await self.look_until("all wait", lambda: self.all_wait(gateway))
        computed, held = cpu(gateway), peak_memory(gateway)
        await pause(IDLE)
        self.assertLess(cpu(gateway) - computed, 0.05 * IDLE)
        self.assertEqual(await self.metric(gateway, "retried_total"), 0)
        listen(self, self.model, port)
        await self.until("all answered", lambda: self.ledger.statuses[200] == MANY)
        self.assertLess(peak_memory(gateway) - held, 20 * MEGABYTE)
        self.assertEqual(set(self.calls().values()), {1})
        await self.drained()
        self.ledger.check(self)

    def publish_many(self, channel: Any) -> None:
        """Publish messages to the work queue in one transaction."""
        channel.queue_declare(self.queue, durable=True)
        transaction = channel.connection.channel()
        transaction.tx_select()
        requests = [fresh_id("many") for _ in range(MANY)]
        for request in requests:
            self.ledger.sent(request)
            properties = pika.BasicProperties(
                delivery_mode=2, message_id=request, correlation_id=request, headers={"RqUID": request}
            )
            transaction.basic_publish("", self.queue, json.dumps({"id": request}).encode(), properties)
        transaction.tx_commit()
        for request in requests:
            self.ledger.confirmed(request)

    async def all_wait(self, gateway: Gateway) -> bool:
        """True if the messages are in their queue, and the process has none but the one that asks for the model."""
        waiting = await self.waiting(self.queue)
        return waiting >= MANY - 1 and await self.metric(gateway, "deliveries_in_flight") <= 1


def listen(test: TestCase, model: ModelServer, port: int) -> None:
    """Make a model listen on another port."""
    site = Site(model)
    site.noisy = False
    test.addCleanup(reactor.listenTCP(port, site, interface="127.0.0.1").stopListening)
