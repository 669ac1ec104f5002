"""``make outages``: a minute without the model, and half a minute without the broker, with figures.

``make test`` has shorter tests of the same faults. This one prints CPU, memory and the ledger.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

from twisted.internet import reactor
from twisted.internet.defer import gatherResults
from twisted.internet.threads import deferToThread

from tests.faults.base import FaultTestCase, cpu, echo_after, memory
from tests.faults.disturbances import pause
from tests.faults.ledger import Outcome
from tests.faults.proxy import FaultProxy

if TYPE_CHECKING:
    from tests.support.processes import Gateway

MEGABYTE = 1024 * 1024
_PREFETCH = 100


class OutageTests(FaultTestCase):
    """One gateway with both roles under 50 requests per second, half of them over AMQP."""

    timeout = 300

    async def loaded(self, **variables: str) -> Gateway:
        """Start a gateway that reaches the model through ``self.to_model``, and load on it."""
        self.model.answer = echo_after(0.05)
        self.to_model = FaultProxy(reactor, int(self.model_url.split(":")[2].split("/")[0]))
        self.to_model.start()
        self.addCleanup(self.to_model.stop)
        entry = self.entry(prefetch=_PREFETCH, dle=True, retryDelay=5000, timeout=2)
        url = f"http://127.0.0.1:{self.to_model.port}/predict"
        gateway = await self.start(entries=[entry], **{"MODEL_URL": url, **variables}).ready()
        self.load = [self.initiator(rate=25), await self.callers(gateway, rate=25)]
        self.running = [self.load[0].publish(), self.load[1].call()]
        await pause(5)
        return gateway

    async def finish(self, faults: int = 1) -> None:
        """Stop the load, drain, check and print the ledger."""
        for each in self.load:
            each.stop()
        await gatherResults(self.running, consumeErrors=True)
        await self.drained(90)
        self.say(self.ledger.summary())
        self.ledger.check(self, duplicates_at_most=faults * _PREFETCH)

    def say(self, text: str) -> None:
        """Print a figure."""
        sys.stdout.write(f"\n{text}")

    async def test_model_down_for_a_minute(self) -> None:
        """The model refuses connections for 60 s: each message is answered or parked, with little CPU time."""
        gateway = await self.loaded()
        before = cpu(gateway)
        await pause(10)
        self.say(f"CPU with the model up        {(cpu(gateway) - before) * 10:.1f} % of a core")
        await self.to_model.stop()
        before = cpu(gateway)
        await pause(60)
        self.say(f"CPU with the model down      {(cpu(gateway) - before) / 60 * 100:.1f} % of a core, load and retries")
        for each in self.load:
            each.stop()
        await pause(1)
        before = cpu(gateway)
        retried = await self.retried(gateway)
        await pause(10)
        spent, attempts = cpu(gateway) - before, await self.retried(gateway) - retried
        self.say(f"CPU with retries only        {spent * 10:.1f} % of a core, {attempts / 10:.0f} retries per second")
        self.to_model.start()
        await self.finish()

    async def retried(self, gateway: Gateway) -> float:
        """The number of copies published for another attempt so far."""
        _, metrics = await self.admin(gateway, "/metrics")
        return sum(float(value) for value in re.findall(r"^provider_gateway_retried_total{.*} (\S+)$", metrics, re.M))

    async def test_broker_frozen(self) -> None:
        """The broker is suspended for 30 s: memory stays flat, callers get responses, service resumes."""
        gateway = await self.loaded(REPLY_TIMEOUT="5")
        before = memory(gateway)
        peak = before
        await deferToThread(self.node.suspend)
        for _ in range(60):
            await pause(0.5)
            peak = max(peak, memory(gateway))
        await deferToThread(self.node.resume)
        await pause(10)
        after = memory(gateway)
        self.say(
            f"memory in MB                 {before / MEGABYTE:.1f} before, {peak / MEGABYTE:.1f} at most, "
            f"{after / MEGABYTE:.1f} after"
        )
        self.assertLess(peak - before, 20 * MEGABYTE)
        self.assertLess(abs(after - before), 20 * MEGABYTE)
        self.say(f"answers                      {dict(self.load[1].statuses)}")
        self.assertGreater(self.ledger.count(Outcome.CONFIRMED), 100)
        await self.finish()
