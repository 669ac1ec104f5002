"""The reactor's monotonic clock, and who may ask for the date."""

from __future__ import annotations

import ast
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.pollreactor import PollReactor
from twisted.internet.selectreactor import SelectReactor
from twisted.trial.unittest import SynchronousTestCase

import provider_gateway
from provider_gateway.clocks import WALL_CLOCK, make_monotonic

if TYPE_CHECKING:
    from twisted.internet.base import ReactorBase

#: Modules that may name each way to get the date; the others get a clock through their constructor.
WAYS = {
    "time.time": {"clocks"},
    "time.monotonic": {"clocks"},
    "datetime.datetime.now": {"demo.certificates"},
    "provider_gateway.clocks.WALL_CLOCK": {
        "commands.main",
        "tap",
        "http_server.site",
        "devbroker.server",
        "demo.sample_model",
    },
}
#: Other ways to the date, which nobody needs.
NEVER = {
    *("time.time_ns", "time.clock_gettime", "time.gmtime", "time.localtime", "time.ctime", "time.strftime"),
    *("datetime.datetime.utcnow", "datetime.datetime.today", "datetime.date.today", "twisted.python.runtime.seconds"),
    *("email.utils.formatdate", "email.utils.localtime", "twisted.python.runtime.platform.seconds", "os.times"),
}


class MonotonicTests(SynchronousTestCase):
    """``make_monotonic`` on each of Twisted's reactors. None of them is run."""

    def reactors(self) -> list[ReactorBase]:
        made = [EPollReactor(), PollReactor(), SelectReactor(), AsyncioSelectorReactor()]
        self.addCleanup(made[3]._asyncioEventloop.close)
        for each in made:
            self.addCleanup(each.disconnectAll)
        return made

    def test_seconds(self) -> None:
        """``seconds`` is the monotonic clock, and timers are counted by it."""
        for reactor in self.reactors():
            make_monotonic(reactor)
            before = time.monotonic()
            call: Any = reactor.callLater(10, self.fail)
            self.assertTrue(before <= reactor.seconds() <= time.monotonic())
            self.assertTrue(before + 10 <= call.getTime() <= time.monotonic() + 10)

    def test_scheduled_before(self) -> None:
        """Calls that were scheduled by the wall clock keep delay and order; so they do if it is called again."""
        for reactor in self.reactors():
            called: list[int] = []
            late: Any = reactor.callLater(3600, called.append, 3)
            for delay in (0.02, 0.01):
                reactor.callLater(delay, called.append, delay)
            reactor.timeout()  # sorts the calls in
            reactor.callLater(0, called.append, 0)
            for _ in range(2):
                make_monotonic(reactor)
                self.assertTrue(3590 < late.getTime() - time.monotonic() <= 3600)
            deadline = time.monotonic() + 5
            while len(called) < 3 and time.monotonic() < deadline:
                time.sleep(reactor.timeout() or 0)
                reactor.runUntilCurrent()
            self.assertEqual(([0, 0.01, 0.02], True), (called, 3500 < (reactor.timeout() or 0) <= 3600))

    def test_other_reactors(self) -> None:
        """A reactor that is made later is not affected: the clock is that of one object, not of Twisted."""
        first, other, *_ = self.reactors()
        make_monotonic(first)
        self.assertLess(abs(other.seconds() - WALL_CLOCK()), 60)


def names_in(tree: ast.Module) -> set[str]:
    """The full names of what is imported, and of the attributes of it that are used."""
    known: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            known |= {each.asname or each.name: each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom):
            known |= {each.asname or each.name: f"{node.module}.{each.name}" for each in node.names}
    found = set(known.values())
    for each in ast.walk(tree):
        node, path = each, ""
        while isinstance(node, ast.Attribute):
            node, path = node.value, f".{node.attr}{path}"
        if path and isinstance(node, ast.Name) and node.id in known:
            found.add(known[node.id] + path)
    return found


class WallClockTests(SynchronousTestCase):
    """The date is asked for in few places: everything else measures durations."""

    def test_ways(self) -> None:
        """Only the listed modules name a way to the date; a duration by the wall clock cannot slip in."""
        root = Path(provider_gateway.__file__).parent
        found: dict[str, set[str]] = {way: set() for way in (*WAYS, *NEVER)}
        for path in root.rglob("*.py"):
            module = ".".join(path.relative_to(root).with_suffix("").parts)
            for name in names_in(ast.parse(path.read_text(encoding="utf-8"))) & found.keys():
                found[name].add(module)
        self.assertEqual({**WAYS, **{way: set() for way in NEVER}}, found)

    def test_finder(self) -> None:
        """The search finds names that are imported under another name, or used as attributes."""
        for text, expected in (
            ("import time\ntime.time()", "time.time"),
            ("import time as t\nx = t.time", "time.time"),
            ("from time import time as now", "time.time"),
            ("from datetime import datetime\ndatetime.now(UTC)", "datetime.datetime.now"),
            ("import datetime as d\nd.datetime.now().isoformat()", "datetime.datetime.now"),
            ("from twisted.python import runtime\nruntime.seconds()", "twisted.python.runtime.seconds"),
        ):
            self.assertIn(expected, names_in(ast.parse(text)), text)
