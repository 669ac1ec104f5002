"""How often a request wakes the process up, counted in system calls: the same figures on every run and every machine.

The whole process is on real sockets with TLS, warm, and has one request at a time. What makes the count independent of
the machine is in :mod:`tests.support.stepped_reactors`. On a machine that is not busy, these calls cost as much as the
Python around them, which ``tests/unit/test_cost.py`` counts.

    python -m tests.unit.test_wakeups      prints the figures as they are now, to be put in place of FIGURES
"""

from __future__ import annotations

import random
import sys
from typing import TYPE_CHECKING

from tests.support.socket_service import SocketServiceTestCase

if TYPE_CHECKING:
    from collections import Counter

#: System calls for one request. ``turns`` are those of the reactor: calls of epoll_wait.
FIGURES: dict[str, dict[str, int]] = {
    "small": {"epoll_ctl": 0, "recv": 6, "send": 5, "turns": 6},
    "1 MB": {"epoll_ctl": 0, "recv": 36, "send": 19, "turns": 36},
}
#: Part of a figure of the large body by which it may be exceeded: its pieces may be cut elsewhere.
_TOLERANCE = 0.05
_WARM_UP = 3
_REQUESTS = {
    "small": (b'{"n": 7}', "application/json"),
    "1 MB": (random.Random(1).randbytes(1_000_000), "application/octet-stream"),
}


class WakeUpTests(SocketServiceTestCase):
    """One request after the other, on connections that stay open."""

    def measure(self, name: str) -> Counter[str]:
        """Count the calls of one request."""
        body, media_type = _REQUESTS[name]
        for _ in range(_WARM_UP):
            self.request(body, media_type)
        self.calls.counts.clear()
        self.request(body, media_type)
        return self.calls.counts.copy()

    def check(self, name: str, tolerance: float) -> None:
        """Compare a request with its figures, and with the next one."""
        found = self.measure(name)
        more = {call: n for call, n in found.items() if n > FIGURES[name].get(call, 0) * (1 + tolerance)}
        if more:
            self.fail(
                f"A request ({name}) makes {dict(found)} system calls; {FIGURES[name]} were written down.\nLook for "
                "bytes that are written in more pieces than before, for sockets whose events are changed, and for "
                "timers that are due at once. If it is worth its cost, measure it (make bench),\n"
                "and put the output of  python -m tests.unit.test_wakeups  in place of FIGURES."
            )
        self.assertEqual(self.measure(name), found, "the next request makes other calls")

    def test_small(self) -> None:
        """A small request makes no more system calls than it did."""
        self.check("small", 0)

    def test_large(self) -> None:
        """A request of a megabyte makes no more system calls than it did, but for 5 %."""
        self.check("1 MB", _TOLERANCE)


def main() -> None:
    """Print the figures."""
    sys.stdout.write("FIGURES: dict[str, dict[str, int]] = {\n")
    for name in _REQUESTS:
        case = WakeUpTests("test_small")
        case.setUp()
        figures = {"epoll_ctl": 0, **case.measure(name)}
        case.doCleanups()
        calls = ", ".join(f'"{call}": {figures[call]}' for call in sorted(figures))
        sys.stdout.write(f'    "{name}": {{{calls}}},\n')
    sys.stdout.write("}\n")


if __name__ == "__main__":
    main()
