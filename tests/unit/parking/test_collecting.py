"""What a look collects while messages pass by."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.parking.collecting import Collecting
from provider_gateway.parking.filters import Filter
from provider_gateway.parking.places import ParkingPlace
from provider_gateway.topology.declarations import Queue
from tests.unit.parking.samples import MORNING, encoded

if TYPE_CHECKING:
    from provider_gateway.parking.looks import Look

PLACE = ParkingPlace("fib", Queue("shared.parking"), "fib.return", None, 3, sharers=frozenset({"other"}))


def delivery(number: int) -> Any:
    """A message that was parked in one of several ways."""
    at = MORNING + number
    death = {"reason": "delivery_limit", "queue": "fib", "time": datetime.fromtimestamp(at, UTC)}
    ways: list[dict[str, Any]] = [
        {"pg-reason": "timeout", "pg-queue": "fib", "pg-parked-at": int(1000 * at)},
        {"pg-reason": "status", "pg-queue": "fib", "pg-parked-at": int(1000 * at)},
        {"pg-reason": "status", "pg-queue": "other", "pg-parked-at": int(1000 * at)},
        {"x-death": [death], "pg-reason": "forged"},
        {"pg-parked-at": -1, "pg-reason": b"\xff"},
        {},
    ]
    return SimpleNamespace(
        properties=encoded(ways[number % len(ways)]), body=b"x" * number, routing_key="shared.parking"
    )


class CollectingTests(SynchronousTestCase):
    """Looks at the same 60 messages."""

    def look(self, filter_: Filter, *, counts: bool, limit: int = 0, after: int = -1) -> tuple[Look, int]:
        """A look, and how many messages were handed on."""
        collecting = Collecting(PLACE, filter_, limit=limit, after=after, counts=counts)
        handed = [collecting.add(delivery(number)) for number in range(60)]
        return collecting.look(60, 1.0), sum(each is not None for each in handed)

    def test_counting(self) -> None:
        """A look that only counts what it does not keep finds the same as one that reads each message whole."""
        for filter_ in (
            Filter(),
            Filter(reasons=frozenset({"status", "delivery_limit"})),
            Filter(since=MORNING + 10, before=MORNING + 40),
            Filter(reasons=frozenset({"unknown"})),
            Filter(limit=7),
            Filter(limit=7, reasons=frozenset({"timeout"})),
            Filter(grep="time"),
            Filter(ids=frozenset({"0" * 32})),
        ):
            for limit, after in ((0, -1), (3, -1), (3, 20), (100, -1), (2, 59)):
                whole, _ = self.look(filter_, counts=False, limit=limit, after=after)
                counted, _ = self.look(filter_, counts=True, limit=limit, after=after)
                self.assertEqual(whole, counted, (filter_, limit, after))

    def test_not_read_whole(self) -> None:
        """What is not kept is not handed on; with a condition on more than reason and time, everything is."""
        self.assertEqual(self.look(Filter(), counts=True)[1], 0)
        self.assertEqual(self.look(Filter(), counts=True, limit=3)[1], 4)  # one more tells that there are further ones
        self.assertEqual(self.look(Filter(), counts=False)[1], 50)
        self.assertEqual(self.look(Filter(grep=".*"), counts=True)[1], 50)
