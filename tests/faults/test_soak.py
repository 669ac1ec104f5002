"""The soak: load over HTTP and AMQP for a set number of messages, a random fault every few seconds, a ledger.

``make soak`` runs it with 100,000 messages, ``make test`` with fewer. Environment variables set its size.
"""

from __future__ import annotations

import os
import random
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any
from zlib import crc32

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater

from devtools.ports import free_ports
from tests.faults.base import FaultTestCase
from tests.faults.disturbances import Disturbances, pause
from tests.faults.ledger import Outcome
from tests.faults.proxy import FaultProxy
from tests.faults.resources import SOAK_FRAME_MAX, soak_broker
from tests.support.stepped_clock import SteppedClock

if TYPE_CHECKING:
    from tests.support.processes import Gateway

#: The number of confirmed requests to reach.
MESSAGES = int(os.environ.get("SOAK_MESSAGES", "15000"))
#: Seconds after which no more requests are sent, however many were confirmed.
SECONDS = float(os.environ.get("SOAK_SECONDS", "100"))
#: Seed of the random faults: the same seed gives the same faults in the same order.
SEED = os.environ.get("SOAK_SEED", "provider-gateway")

GATEWAYS = 2
PREFETCH = 30
#: Requests per second: of each AMQP initiator, of HTTP callers of /v1/predict, and of those of /v1/publish.
AMQP_RATES, PREDICT_RATE, PUBLISH_RATE = (100, 90), 50, 30
#: Requests per second with large headers: over AMQP, such that copies do not fit a frame; over HTTP, that fit none.
AMQP_LARGE_RATE, HTTP_LARGE_RATE = 10, 3
#: One of so many responses of the model has headers that fit no frame.
LARGE_RESPONSES = 50
_DRAIN = 120
#: Seconds by which the gateways' wall clock begins ahead, so that it can be set back and certificates stay valid.
DAYS = 7 * 86_400


def answer(body: bytes) -> Deferred[Any]:
    """The model's answer: an echo after some time, and sometimes large headers."""
    headers = {} if crc32(body) % LARGE_RESPONSES else {"X-Large": "x" * 2 * SOAK_FRAME_MAX}
    return deferLater(reactor, 0.05, lambda: (200, body, headers))  # so long the model takes


class SoakTests(FaultTestCase):
    """Two gateways with both roles, under every fault of the disturbances."""

    timeout = SECONDS + _DRAIN + 120
    node_of_the_suite = staticmethod(soak_broker)

    async def setUp(self) -> None:
        await super().setUp()
        self.model.answer = answer
        self.to_broker = await self.proxy(self.node.tls_port)
        self.to_model = await self.proxy(int(self.model_url.split(":")[2].split("/")[0]))
        self.wall = SteppedClock(self.folder)
        self.wall.step(DAYS)
        self.slots: list[Gateway] = []
        self.ports = free_ports(GATEWAYS)
        for port in self.ports:
            self.slots.append(await self.serve(port))

    async def proxy(self, port: int) -> FaultProxy:
        """A running proxy in front of a port."""
        made = FaultProxy(reactor, port)
        made.start()
        self.addCleanup(made.stop)
        return made

    async def serve(self, port: int) -> Gateway:
        """Start a gateway on a port."""
        entry = self.entry(prefetch=PREFETCH, dle=True, retryDelay=2000, maxAttempts=5, timeout=2)
        return (
            await self.start(
                entries=[entry],
                HTTP_PORT=str(port),
                RMQ_URL=f"amqps://localhost:{self.to_broker.port}/?heartbeat=5",
                MODEL_URL=f"http://127.0.0.1:{self.to_model.port}/predict",
                REPLY_TIMEOUT="10",
                DRAIN_TIMEOUT="10",
                **self.wall.environment,
            )
            .logged("admin listener")
            .addCallback(lambda _: self.gateways[-1])
        )

    async def end_gateway(self, signal: str) -> None:
        """End one of the gateways, and start another on its port."""
        number = self.chance.randrange(GATEWAYS)
        self.slots[number].signal(signal)
        status = await self.slots[number].when_ended()
        if signal == "TERM":
            self.assertEqual(status, 0)
        self.slots[number] = await self.serve(self.ports[number])

    async def test_soak(self) -> None:
        """Under all faults, each confirmed request ends in a reply, in parking, or as a counted expiry."""
        self.chance = random.Random(SEED)
        self.faults: Counter[str] = Counter()
        self.enough = False
        for each in self.slots:
            await each.ready()
        loading = Deferred.fromCoroutine(self.load())
        disturbing = Deferred.fromCoroutine(self.disturb())
        await gatherResults([loading, disturbing], consumeErrors=True)
        await self.drained(_DRAIN)
        faults = "\n".join(f"{name:<40} {count}" for name, count in sorted(self.faults.items()))
        sys.stdout.write(f"\n\n{faults}\n\n{self.ledger.summary()}\n")
        in_flight = GATEWAYS * PREFETCH
        self.ledger.check(self, duplicates_at_most=sum(self.faults.values()) * in_flight)
        self.check_sizes()

    def check_sizes(self) -> None:
        """Check that messages did not fit, and that no connection was lost over one."""
        said = [str(line["message"]) for each in self.gateways for line in each.log]
        for text in ("A copy has lost headers", "the reply is refused: The headers take", "431 headers-too-large"):
            self.assertTrue(any(text in message for message in said), text)
        self.assertEqual([message for message in said if "FRAME_ERROR" in message], [])

    async def load(self) -> None:
        """Send requests until enough are confirmed, or the time is over."""
        ends = reactor.seconds() + SECONDS
        large = {"headers": {"x-large": "x" * (SOAK_FRAME_MAX - 200)}}
        initiators = [self.initiator(rate=rate) for rate in AMQP_RATES]
        initiators.append(self.initiator(rate=AMQP_LARGE_RATE, properties=large, padding=3 * SOAK_FRAME_MAX))
        callers = [
            await self.callers(*self.slots, rate=PREDICT_RATE),
            await self.callers(*self.slots, rate=PUBLISH_RATE, path="/v1/publish"),
            await self.callers(*self.slots, rate=HTTP_LARGE_RATE, headers={"X-Large": "x" * SOAK_FRAME_MAX}),
        ]
        running = [each.publish() for each in initiators] + [each.call() for each in callers]
        while self.ledger.count(Outcome.CONFIRMED) < MESSAGES and reactor.seconds() < ends:
            await pause(1)
        self.enough = True
        for each in (*initiators, *callers):
            each.stop()
        await gatherResults(running, consumeErrors=True)

    async def disturb(self) -> None:
        """Cause one fault after another while the load runs."""
        disturbances = Disturbances(
            self.chance,
            broker=self.node,
            to_broker=self.to_broker,
            to_model=self.to_model,
            model=self.model,
            end_gateway=self.end_gateway,
            wall=self.wall,
        ).all
        waiting: list[str] = []
        while not self.enough:
            if not waiting:
                # Each fault once before any is repeated, so that a short soak has all of them.
                waiting = list(disturbances)
                self.chance.shuffle(waiting)
            name = waiting.pop()
            self.faults[name] += 1
            await disturbances[name]()
            await pause(self.chance.uniform(1, 4))
