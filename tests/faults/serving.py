"""The base of the fault tests of model, replies and processes: gateways of one entry, and checks of messages."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pika
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from tests.faults.base import FaultTestCase, echo_after
from tests.faults.hostile import HostileModel
from tests.faults.ledger import fresh_id, id_in
from tests.faults.resources import ready_counts

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.faults.callers import HTTPCallers
    from tests.faults.load import AMQPInitiator
    from tests.support.processes import Gateway, Process

#: The prefetch of each gateway.
PREFETCH = 20
#: Seconds that the model takes, so that faults meet requests in every stage.
MODEL_SECONDS = 0.2
#: The longest time, in seconds, that counts as "at once".
AT_ONCE = 1.0
#: Messages that meet a fault in one test.
SOME = 6
#: Seconds between two checks of a state that no event reports.
LOOK = 0.1


def pause(seconds: float) -> Deferred[None]:
    """Wait for some seconds."""
    return deferLater(reactor, seconds, lambda: None)


def peak_memory(process: Process) -> int:
    """The largest resident memory of a process since its start, in bytes."""
    assert process.transport is not None
    status = Path(f"/proc/{process.transport.pid}/status").read_text()
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


class ServingTestCase(FaultTestCase):
    """Gateways whose model may misbehave.

    Attributes:
        keys: keys of the queue entry.
    """

    model: HostileModel
    new_model = HostileModel

    async def setUp(self) -> None:
        await super().setUp()
        self.keys: dict[str, Any] = {"prefetch": PREFETCH}

    def serve(self, *arguments: str, **variables: str) -> Gateway:
        """Start a gateway for the entry."""
        return self.start(*arguments, entries=[self.entry(**self.keys)], **variables)

    async def all_of(self, *loads: Deferred[None]) -> None:
        """Wait until all of these loads have ended."""
        for load in loads:
            await load

    def hold(self) -> Deferred[None]:
        """Delay the model's responses until the test fires the Deferred."""
        released: Deferred[None] = Deferred()
        before = self.model.answer

        def answer(body: bytes) -> Deferred[Any]:
            waiting: Deferred[Any] = Deferred()
            released.addCallback(lambda _: waiting.callback(body))
            return waiting.addCallback(before)

        def release(_: None) -> None:
            self.model.answer = before

        self.model.answer = answer
        return released.addCallback(release)

    async def called(self, requests: list[str]) -> bool:
        """Wait until the model was called for each of these requests."""
        return self.calls().keys() >= set(requests)

    def calls(self) -> dict[str, int]:
        """The number of model calls of each request."""
        counts: dict[str, int] = {}
        for body, _ in self.model.requests:
            counts[request] = counts.get(request := str(id_in(body)), 0) + 1
        return counts

    async def parked(self) -> dict[str, dict[str, Any]]:
        """The headers of the parked copies by request; records the copies in the ledger."""
        found = {}
        for properties, body in await self._take_all(f"{self.queue}.parking"):
            request, _ = self.ledger.read(properties.headers or {}, properties.correlation_id, body)
            self.ledger.parked(request)
            found[request] = properties.headers
        return found

    async def metric(self, gateway: Gateway, name: str) -> float:
        """The sum of a metric over all labels, or the value of one series (``name{label="value"}``)."""
        _, text = await self.admin(gateway, "/metrics")
        found = re.findall(rf"^provider_gateway_{re.escape(name)}(?:\{{.*\}})? (\S+)$", text, re.MULTILINE)
        return sum(map(float, found))

    async def ready(self, gateway: Gateway) -> tuple[int, str]:
        """The text of ``/health/ready``."""
        return await self.admin(gateway, "/health/ready")

    async def look_until(self, what: str, met: Callable[[], Awaitable[Any]], seconds: float = 30) -> None:
        """Check a condition repeatedly until it is met; for states that no event reports."""
        deadline = reactor.seconds() + seconds
        while not await met():
            if reactor.seconds() > deadline:
                self.fail(f"within {seconds:g} s there was not: {what}\n{self.ledger.summary()}")
            await pause(LOOK)

    async def has_waiting(self, queue: str, count: int) -> bool:
        """True if at least this many messages are ready in a queue."""
        return await self.waiting(queue) >= count

    async def waiting(self, queue: str) -> int:
        """The number of ready messages in a queue; 0 if it does not exist."""
        found: dict[str, int] = await self.on_channel(lambda channel: ready_counts(channel, [queue]))
        return found.get(queue, 0)


class LoadedTestCase(ServingTestCase):
    """Load, and beside it messages that meet a fault: their ids begin with "odd"."""

    async def setUp(self) -> None:
        await super().setUp()
        self.model.answer = echo_after(MODEL_SECONDS)
        self.running: list[Deferred[None]] = []

    async def load(self, *gateways: Gateway, **options: Any) -> tuple[AMQPInitiator, HTTPCallers]:
        """Start the load; returns when some requests are confirmed."""
        self.amqp, self.http = self.initiator(rate=20), await self.callers(*gateways, rate=20, **options)
        self.running = [self.amqp.publish(), self.http.call()]
        await self.confirmed(20)
        return self.amqp, self.http

    async def balances(self, faults: int = 0) -> None:
        """Stop the load, drain, and check the ledger."""
        await self.confirmed(20)
        self.amqp.stop()
        self.http.stop()
        await self.all_of(*self.running)
        await self.drained()
        self.ledger.check(self, duplicates_at_most=faults * PREFETCH)

    def publish_odd(
        self, channel: Any, count: int = SOME, headers: dict[str, Any] | None = None, **values: Any
    ) -> list[str]:
        """Publish messages that meet a fault; returns their ids."""
        requests = [fresh_id("odd") for _ in range(count)]
        for request in requests:
            self.publish_one(
                channel,
                request,
                pika.BasicProperties(message_id=request, headers={"RqUID": request, **(headers or {})}, **values),
            )
        return requests

    def publish_one(self, channel: Any, request: str, properties: pika.BasicProperties) -> None:
        """Publish one message with a confirm, and record it in the ledger."""
        self.ledger.sent(request)
        channel.basic_publish(
            self.exchange, "predict.now", json.dumps({"id": request}).encode(), properties, mandatory=True
        )
        self.ledger.confirmed(request)

    def fail_odd(self) -> None:
        """Make the model fail on these messages."""
        echo = self.model.answer
        self.model.answer = lambda body: (500, b"") if b'"odd-' in body else echo(body)
