"""``make outages``: callers that send more than the model can serve, with figures.

``OVERLOAD_SECONDS`` is how long they send.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from twisted.internet import reactor
from twisted.internet.defer import gatherResults

from tests.faults.base import cpu
from tests.faults.disturbances import pause
from tests.faults.models import AbsentModelTestCase
from tests.faults.outages import say

if TYPE_CHECKING:
    from tests.support.processes import Gateway

#: Seconds of load.
SECONDS = float(os.environ.get("OVERLOAD_SECONDS", "60"))
#: The model's calls at a time, and seconds for each: so many calls a second is its capacity.
SLOTS, CALL = 8, 0.2
CAPACITY = SLOTS / CALL
#: Seconds that a caller waits.
REPLY_TIMEOUT = 5
#: Requests that are answered in time, as a share of those admitted, at least; and answers, as a share of the capacity.
IN_TIME, GOODPUT = 0.95, 0.9
#: Seconds after which nearly all refusals have come.
AT_ONCE, NEARLY_ALL = 0.1, 0.99


class OverloadTests(AbsentModelTestCase):
    """Callers of gateways, whose model is a process."""

    timeout = 2 * SECONDS + 120

    async def overload(self, what: str, load: float, *, gateways: int, initiators: float = 0, **model: float) -> float:
        """Offer a part or a multiple of the capacity; returns the share of requests that were refused."""
        process = await self.begin_model(**{"slots": SLOTS, "seconds": CALL, **model})
        entries = [self.entry(prefetch=SLOTS)]
        more = {"MODEL_URL": process.url, "REPLY_TIMEOUT": str(REPLY_TIMEOUT)}
        asked: list[Gateway] = []
        if gateways == 1:
            asked.append(self.start(entries=entries, **more))
        else:
            asked += [self.start("--role", "gateway", entries=entries, **more) for _ in range(gateways)]
            await self.start("--role", "provider", entries=entries, **more).ready()
        for each in asked:
            await each.ready()
        callers = await self.callers(*asked, rate=load * CAPACITY)
        initiator = self.initiator(rate=initiators * CAPACITY) if initiators else None
        spent, began = sum(map(cpu, asked)), reactor.seconds()
        running = [callers.call(), *([initiator.publish()] if initiator else [])]
        await pause(SECONDS)
        for each in (callers, *([initiator] if initiator else [])):
            each.stop()
        spent, seconds = sum(map(cpu, asked)) - spent, reactor.seconds() - began
        await gatherResults(running)
        statuses = callers.statuses
        refusals = sorted(taken for status, taken in callers.answers if status == 503)
        answered = sorted(taken for status, taken in callers.answers if status == 200)
        admitted = statuses.total() - statuses[503]
        say(
            f"{what:<44} {statuses.total()} requests: {statuses[200]} answered, {statuses[503]} refused, "
            f"{statuses[504]} with 504; {statuses[200] / admitted:.1%} of the admitted in time\n"
            f"{'':<44} answered after {_middle(answered):.2f} s, at most {answered[-1]:.2f} s"
        )
        if refusals:
            at_once = sum(taken <= AT_ONCE for taken in refusals) / len(refusals)
            say(
                f"{'':<44} refused after {1000 * _middle(refusals):.1f} ms, 99 % within "
                f"{1000 * refusals[int(0.99 * len(refusals))]:.0f} ms, {at_once:.2%} within {1000 * AT_ONCE:g} ms"
            )
            self.assertGreaterEqual(at_once, NEARLY_ALL)
        say(f"{'':<44} CPU of the gateways {spent / seconds:.1%} of a core")
        self.assertEqual(set(callers.problems), {"queue-too-long"} & set(callers.problems) | self._late(statuses[504]))
        self.assertGreaterEqual(statuses[200] / admitted, IN_TIME)
        await self.drained(60)
        self.ledger.check(self)
        if load + initiators > 1:
            self.assertGreaterEqual(statuses[200], GOODPUT * (1 - initiators) * CAPACITY * SECONDS)
        return statuses[503] / statuses.total()

    def _late(self, count: int) -> set[str]:
        return {"deadline-passed"} if count else set()

    async def test_twice(self) -> None:
        """One process, callers at twice the capacity."""
        self.assertGreater(await self.overload("callers at twice the capacity", 2, gateways=1), 0.3)

    async def test_twice_with_initiators(self) -> None:
        """Two gateways and a provider, callers at twice the capacity, an initiator at a third; spread calls."""
        what = "two gateways, an initiator beside"
        self.assertGreater(await self.overload(what, 2, gateways=2, initiators=1 / 3, spread=0.8), 0.4)

    async def test_half(self) -> None:
        """At half the capacity nothing is refused."""
        self.assertEqual(await self.overload("callers at half the capacity", 0.5, gateways=2), 0)


def _middle(values: list[float]) -> float:
    return values[len(values) // 2]
