"""``make outages``: a model that is away for ten minutes, and a broker that is frozen for half a minute, with figures.

``make test`` has shorter tests of the same faults. These print CPU, memory and the ledger. ``OUTAGE_SECONDS`` shortens
the absence.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from twisted.internet import reactor
from twisted.internet.defer import gatherResults
from twisted.internet.threads import deferToThread

from tests.faults.base import FaultTestCase, cpu, echo_after, memory
from tests.faults.disturbances import pause
from tests.faults.ledger import Outcome
from tests.faults.models import AbsentModelTestCase

if TYPE_CHECKING:
    from tests.support.processes import Process

#: Seconds for which the model is away.
SECONDS = float(os.environ.get("OUTAGE_SECONDS", "600"))
#: The model's calls at a time, and seconds for each: so many calls a second is its pace.
SLOTS, CALL = 32, 0.2
PACE = SLOTS / CALL
#: Times of the ideal that all that waited may take to be answered after the model's return. After a short absence less
#: has waited, and the time until the model is asked counts for more: that many seconds at most.
BAR, ASKED_EACH = 1.2, 15
#: Seconds between two looks at the ledger.
LOOK = 0.5
MEGABYTE = 1024 * 1024
_PREFETCH = 100


def say(text: str) -> None:
    """Print a figure."""
    sys.stdout.write(f"\n{text}")
    sys.stdout.flush()


class ModelAwayTests(AbsentModelTestCase):
    """A gateway and a provider under 50 messages a second, half by AMQP, half by ``POST /v1/publish``."""

    timeout = 3 * SECONDS + 600

    async def test_model_away(self) -> None:
        """The model is killed, and comes back after ten minutes: nothing is parked, lost or answered twice.

        All that waited is answered in little more time than the model needs. The load does not stop meanwhile. The
        provider takes hardly any CPU time while the model is away.
        """
        model = await self.begin_model(slots=SLOTS, seconds=CALL)
        entries = [self.entry(prefetch=_PREFETCH, dle=True, retryDelay=5000)]
        gateway = await self.start("--role", "gateway", entries=entries).ready()
        provider = await self.start("--role", "provider", entries=entries, MODEL_URL=model.url).ready()
        # An initiator waits for each confirm beside its interval.
        load = [self.initiator(rate=30), await self.callers(gateway, rate=25, path="/v1/publish")]
        running = [load[0].publish(), load[1].call()]
        await pause(5)
        computed, began = cpu(provider), reactor.seconds()
        await pause(10)
        say(f"CPU, model there     {self.share(provider, computed, began)}")
        await model.tell(up=False, at_once=True)
        sent, computed, began = self.ledger.count(Outcome.CONFIRMED), cpu(provider), reactor.seconds()
        await pause(SECONDS)
        held = (cpu(provider) - computed) / (reactor.seconds() - began)
        rate = (self.ledger.count(Outcome.CONFIRMED) - sent) / (reactor.seconds() - began)
        say(f"CPU, model away      {self.share(provider, computed, began)}")
        say(f"memory, model away   {memory(provider) / MEGABYTE:.1f} MB")
        waiting = self.ledger.lost()
        ideal = len(waiting) / PACE
        say(f"messages             {rate:.1f} per second, {len(waiting)} waiting after {SECONDS:g} s")
        before = await model.figures("amqp")
        await model.tell(up=True)
        began, answers = reactor.seconds(), sum(self.ledger.statuses.values())
        await self.until("an answer", lambda: sum(self.ledger.statuses.values()) > answers)
        say(f"first answer after   {reactor.seconds() - began:.1f} s")
        while waiting & self.ledger.lost() and reactor.seconds() < began + 2 * ideal + 60:
            await pause(LOOK)
        seconds = reactor.seconds() - began
        say(f"all answered after   {seconds:.1f} s, {seconds / ideal:.2f} times the ideal of {ideal:.1f} s")
        told = (await model.figures("amqp")).since(before)
        say(f"meanwhile            {told.served / seconds:.0f} calls per second, {told.share_refused:.1%} refused")
        for each in load:
            each.stop()
        await gatherResults(running, consumeErrors=True)
        await self.drained(120)
        say(self.ledger.summary())
        self.ledger.check(self)
        self.assertEqual(set(self.ledger.statuses), {200})
        self.assertLessEqual(self.ledger.repeated_calls(), SLOTS)  # those that the model's end has cut off
        self.assertGreater(rate, 45)
        self.assertLess(seconds, max(BAR * ideal, ideal + ASKED_EACH + 1))
        self.assertLess(held, 0.05)

    def share(self, provider: Process, computed: float, began: float) -> str:
        """The CPU time of a process since a moment, as text."""
        return f"{(cpu(provider) - computed) / (reactor.seconds() - began) * 100:.1f} % of a core"


class BrokerFrozenTests(FaultTestCase):
    """One gateway with both roles under 50 requests per second, half of them over AMQP."""

    timeout = 300

    async def test_broker_frozen(self) -> None:
        """The broker is suspended for 30 s: memory stays flat, callers get responses, service resumes."""
        self.model.answer = echo_after(0.05)
        entry = self.entry(prefetch=_PREFETCH, dle=True, retryDelay=5000, timeout=2)
        gateway = await self.start(entries=[entry], REPLY_TIMEOUT="5").ready()
        load = [self.initiator(rate=25), await self.callers(gateway, rate=25)]
        running = [load[0].publish(), load[1].call()]
        await pause(5)
        before = memory(gateway)
        peak = before
        await deferToThread(self.node.suspend)
        for _ in range(60):
            await pause(0.5)
            peak = max(peak, memory(gateway))
        await deferToThread(self.node.resume)
        await pause(10)
        after = memory(gateway)
        say(
            f"memory in MB                 {before / MEGABYTE:.1f} before, {peak / MEGABYTE:.1f} at most, "
            f"{after / MEGABYTE:.1f} after"
        )
        self.assertLess(peak - before, 20 * MEGABYTE)
        self.assertLess(abs(after - before), 20 * MEGABYTE)
        say(f"answers                      {dict(load[1].statuses)}")
        self.assertGreater(self.ledger.count(Outcome.CONFIRMED), 100)
        for each in load:
            each.stop()
        await gatherResults(running, consumeErrors=True)
        await self.drained(90)
        say(self.ledger.summary())
        self.ledger.check(self, duplicates_at_most=_PREFETCH)
