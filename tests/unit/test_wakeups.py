"""How often a request wakes the process up, counted in system calls: the same figures on every run and every machine.

The whole process is on real sockets with TLS, warm, and has one request at a time. What makes the count independent of
the machine is in :mod:`tests.support.stepped_reactors`. On a machine that is not busy, these calls cost as much as the
Python around them, which ``tests/unit/test_cost.py`` counts.

    python -m tests.unit.test_wakeups      prints the figures as they are now, to be put in place of FIGURES
"""

from __future__ import annotations

import random
import sys

from tests.support.socket_service import SocketServiceTestCase
from tests.support.stepped_reactors import CALLS

#: System calls for one request. ``turns`` are those of the reactor: calls of epoll_wait.
FIGURES: dict[str, dict[str, float]] = {
    "small": {"epoll_ctl": 0, "recv": 6, "send": 5, "turns": 6.02},
    "small, one a second": {"epoll_ctl": 0, "recv": 6.06, "send": 6.06, "turns": 8.06},
    "1 MB": {"epoll_ctl": 0, "recv": 36, "send": 19, "turns": 36.24},
}
#: Calls by which a figure may be exceeded: less than one more call for each small request. Large ones may be cut
#: elsewhere.
_TOLERANCE = {"small": 0.25, "small, one a second": 0.25, "1 MB": 1.5}
_WARM_UP = 3
#: Requests that are counted together.
_COUNT = 100
_SMALL = b'{"n": 7}', "application/json"
#: Body, media type, and the seconds from one request to the next. What waits for a timer is counted, too.
_REQUESTS = {
    "small": (*_SMALL, 0.002),
    "small, one a second": (*_SMALL, 1.0),
    "1 MB": (random.Random(1).randbytes(1_000_000), "application/octet-stream", 0.02),
}


class WakeUpTests(SocketServiceTestCase):
    """Requests on connections that stay open; each one is answered before the next."""

    def measure(self, name: str) -> dict[str, float]:
        """Count the calls; returns those for one request."""
        body, media_type, between = _REQUESTS[name]
        for _ in range(_WARM_UP):
            self.request(body, media_type)
        self.advance(1)
        self.calls.counts.clear()
        for _ in range(_COUNT):
            self.request(body, media_type)
            self.advance(between)
        return {call: round(self.calls.counts[call] / _COUNT, 2) for call in CALLS}

    def check(self, name: str) -> None:
        """Compare requests with their figures."""
        found = self.measure(name)
        if any(count > FIGURES[name][call] + _TOLERANCE[name] for call, count in found.items()):
            self.fail(
                f"A request ({name}) makes {found} system calls; {FIGURES[name]} were written down.\nLook for bytes "
                "that are written in more pieces than before, for sockets whose events are changed, and for timers "
                "that are due soon. If it is worth its cost, measure it (make bench),\n"
                "and put the output of  python -m tests.unit.test_wakeups  in place of FIGURES."
            )

    def test_small(self) -> None:
        """A small request among others, 500 in a second, makes no more system calls than it did."""
        self.check("small")

    def test_small_alone(self) -> None:
        """Nor does one that comes alone, with all that is done for it later."""
        self.check("small, one a second")

    def test_large(self) -> None:
        """A request of a megabyte makes hardly more system calls than it did."""
        self.check("1 MB")

    def test_count_is_stable(self) -> None:
        """As many requests make the same calls again: nothing piles up, and nothing here is by chance."""
        self.assertEqual(self.measure("small"), self.measure("small"))


def main() -> None:
    """Print the figures."""
    sys.stdout.write("FIGURES: dict[str, dict[str, float]] = {\n")
    for name in _REQUESTS:
        case = WakeUpTests("test_small")
        case.setUp()
        calls = ", ".join(f'"{call}": {count:g}' for call, count in case.measure(name).items())
        case.doCleanups()
        sys.stdout.write(f'    "{name}": {{{calls}}},\n')
    sys.stdout.write("}\n")


if __name__ == "__main__":
    main()
