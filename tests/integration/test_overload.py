"""Callers are told early by real processes on RabbitMQ: if the queue is too long for them, and if no replies come."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pika
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater

from tests.support.integration import IntegrationTestCase
from tests.support.rabbitmq import take

if TYPE_CHECKING:
    from tests.support.processes import Gateway

#: Calls of the model at a time, and seconds for each: 20 requests a second.
SLOTS, CALL = 4, 0.2
REPLY_TIMEOUT = 4
#: Seconds within which a refusal has to come; CI machines are slow.
AT_ONCE = 1.0


class OverloadTests(IntegrationTestCase):
    """A gateway and a provider whose model takes 20 requests a second; callers wait for 4 s."""

    async def setUp(self) -> None:
        await super().setUp()
        self.model.answer = lambda body: deferLater(reactor, CALL, lambda: (200, body))

    async def serve(self, timeout: float = REPLY_TIMEOUT) -> Gateway:
        """Start gateway and provider; returns the gateway."""
        entries = [self.entry(prefetch=SLOTS)]
        gateway = self.start("--role", "gateway", entries=entries, REPLY_TIMEOUT=str(timeout))
        await self.start("--role", "provider", entries=entries).ready()
        return await gateway.ready()

    def send(self, gateway: Gateway, count: int) -> Deferred[list[tuple[int, str | None, Any, float]]]:
        """Send requests at the same time; status, ``Retry-After``, body and seconds of each."""

        async def one(number: int) -> tuple[int, str | None, Any, float]:
            began = reactor.seconds()
            response, body = await self.post(gateway, number)
            [retry_after] = response.headers.getRawHeaders("retry-after", [None])
            return response.code, retry_after, body, reactor.seconds() - began

        return gatherResults([Deferred.fromCoroutine(one(number)) for number in range(count)], consumeErrors=True)

    async def test_queue_too_long(self) -> None:
        """Of a burst on a long queue, as many are taken as are served in time. The others are told at once."""
        gateway = await self.serve()
        before = self.send(gateway, 50)
        await deferLater(reactor, 1.5)
        answers = await self.send(gateway, 100)
        self.assertEqual({status for status, *_ in await before}, {200})
        refused = [each for each in answers if each[0] == 503]
        self.assertGreater(len(refused), 30)
        late = len(answers) - len(refused) - sum(status == 200 for status, *_ in answers)
        self.assertLessEqual(late, 7)  # a tenth of those admitted, on a machine that is slow for a moment
        for _, retry_after, problem, seconds in refused:
            self.assertTrue(problem["type"].endswith(":queue-too-long"), problem)
            self.assertTrue(1 <= int(retry_after or 0) <= 60)
            self.assertLess(seconds, AT_ONCE)
        _, metrics = await self.admin(gateway, "/metrics")
        self.assertIn(f'refused_early_total{{reason="wait"}} {len(refused)}.0', metrics)
        # The queue is empty: a burst as at the beginning is served again.
        self.assertEqual({status for status, *_ in await self.send(gateway, 20)}, {200})

    async def test_initiators_are_not_refused(self) -> None:
        """Messages of an initiator, and of ``/v1/publish``, wait behind a long queue, and are all served."""
        gateway = await self.serve()
        before = self.send(gateway, 50)
        await deferLater(reactor, 1.5)
        answers = self.send(gateway, 60)
        response, _ = await self.post(gateway, "p", path="/v1/publish")
        self.assertEqual(response.code, 202)
        published = int(1000 * time.time())
        properties = pika.BasicProperties(
            reply_to=self.output, correlation_id="c1", headers={"pg-published": published, "RqUID": "r1"}
        )
        await self.on_channel(lambda channel: channel.basic_publish(self.exchange, "predict.now", b'"i"', properties))
        replies = await self.on_channel(lambda channel: take(channel, self.output, 2))
        self.assertEqual({body for _, body in replies}, {b'"p"', b'"i"'})
        [headers] = [properties.headers for properties, body in replies if body == b'"i"']
        self.assertTrue(500 <= headers["pg-waited"] <= 20_000, headers)
        self.assertIn(503, {status for status, *_ in await answers})
        await before

    async def test_stalled(self) -> None:
        """When no replies come, one request a second is taken, and the others are told at once. A reply ends that."""
        held: list[Deferred[tuple[int, bytes]]] = []

        def hold(_: bytes) -> Deferred[tuple[int, bytes]]:
            held.append(Deferred())
            return held[-1]

        self.model.answer = hold
        gateway = await self.serve(timeout=1)
        self.assertEqual([status for status, *_ in await self.send(gateway, 2)], [504, 504])
        answers = await self.send(gateway, 10)
        self.assertEqual(sorted(status for status, *_ in answers), [503] * 9 + [504])
        self.assertTrue(all(seconds < AT_ONCE for status, *_, seconds in answers if status == 503))
        self.model.answer = lambda body: (200, body)
        for each in held:
            each.callback((200, b"1"))
        await gateway.when(lambda: sum("late reply" in line["message"] for line in gateway.log) >= 2)
        self.assertEqual({status for status, *_ in await self.send(gateway, 10)}, {200})
