"""The runner of ``make test``: every module runs once, some units run alone, and the last line has all figures."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from devtools.figures import counts, figures_of, summary
from devtools.run_tests import ALONE, COMPUTING, UNITS, Result, Unit, chosen, find_modules, next_unit, plan

ROOT = Path(__file__).resolve().parents[3]


class PlanTests(SynchronousTestCase):
    """Which modules run in which unit."""

    def test_each_module_once(self) -> None:
        """Every test module below tests/ runs in exactly one unit."""
        files = [path.relative_to(ROOT).with_suffix("") for path in (ROOT / "tests").rglob("test_*.py")]
        expected = [".".join(path.parts) for path in files]
        planned = [module for unit in plan(find_modules()) for module in unit.modules]
        self.assertEqual(sorted(planned), sorted(expected))

    def test_names(self) -> None:
        """Every module and suite that the runner names exists."""
        units = {unit.name: unit for unit in plan(find_modules())}
        self.assertLessEqual(set(UNITS), set(units))
        self.assertLessEqual(ALONE | COMPUTING, set(units))
        for name in UNITS:
            for part in name.split():
                if ".test_" in part:
                    self.assertIn(part, units[name].modules)

    def test_new_ones(self) -> None:
        """A new module runs with its suite, and a new suite in a unit of its own."""
        (faults, new) = plan(["tests.new.test_b", "tests.faults.test_new", "tests.new.test_a"])
        self.assertEqual(faults, Unit("tests.faults", ("tests.faults.test_new",)))
        self.assertEqual(new, Unit("tests.new", ("tests.new.test_a", "tests.new.test_b")))

    def test_some(self) -> None:
        """Suites and modules can be chosen by their names; a name that is none of them is an error."""
        modules = ["tests.a.test_one", "tests.a.test_one_more", "tests.b.c.test_two", "tests.b.test_three"]
        for names, expected in (
            ([], modules),
            (["tests"], modules),
            (["tests.b"], modules[2:]),
            (["tests.b.c", "tests.a.test_one"], [modules[0], modules[2]]),
        ):
            self.assertEqual(chosen(modules, names), expected, names)
        for name in ("tests.c", "tests.a.test", "tests.a.test_one.Case"):
            self.assertRaises(ValueError, chosen, modules, ["tests.b", name])

    def test_alone_comes_last(self) -> None:
        """Units that run alone are started after all others."""
        names = [unit.name for unit in plan(find_modules())]
        self.assertEqual(set(names[-len(ALONE) :]), ALONE)


class OrderTests(SynchronousTestCase):
    """Which unit is started when."""

    def setUp(self) -> None:
        self.first, self.second = Unit("tests.a", ()), Unit("tests.b", ())
        self.fuzz, self.unit = Unit("tests.fuzz", ()), Unit("tests.unit", ())
        self.soak = Unit("tests.faults.test_soak", ())

    def test_in_order(self) -> None:
        """Units are started in their order, as many as there are jobs."""
        waiting = [self.first, self.second]
        self.assertEqual(next_unit(waiting, [], 2, 2), self.first)
        self.assertEqual(next_unit([self.second], [self.first], 2, 2), self.second)
        self.assertIsNone(next_unit([self.second], [self.first], 1, 2))

    def test_computing(self) -> None:
        """Units that compute use at most half of the cores; meanwhile a waiting unit overtakes the next of them."""
        waiting = [self.unit, self.first]
        self.assertEqual(next_unit(waiting, [self.fuzz], 3, 2), self.first)
        self.assertEqual(next_unit(waiting, [self.fuzz], 3, 4), self.unit)
        self.assertIsNone(next_unit([self.unit], [self.fuzz], 3, 1))

    def test_alone(self) -> None:
        """A unit that runs alone waits for all others, and nothing is started beside it."""
        self.assertIsNone(next_unit([self.soak], [self.first], 3, 2))
        self.assertEqual(next_unit([self.soak], [], 3, 2), self.soak)
        self.assertIsNone(next_unit([self.first], [self.soak], 3, 2))


class ResultTests(SynchronousTestCase):
    """Results of trial processes."""

    def result(self, output: str, status: int) -> Result:
        return Result(Unit("tests.a", ()), 1.0, output, status)

    def test_figures(self) -> None:
        """The figures are those of trial's last line."""
        for line, expected in (
            ("PASSED", {}),
            ("PASSED (successes=3)", {"successes": 3}),
            (
                "FAILED (skips=1, failures=2, errors=3, successes=4)",
                {"skips": 1, "failures": 2, "errors": 3, "successes": 4},
            ),
        ):
            self.assertEqual(figures_of(f"PASSED (successes=7)\nwords\n{line}\n"), Counter(expected), line)
            self.assertEqual(summary(Counter(expected)), line)

    def test_counts(self) -> None:
        """The last line counts each test once: passed, failed or skipped."""
        figures = Counter({"skips": 1, "failures": 2, "errors": 3, "successes": 4, "unexpectedSuccesses": 5})
        self.assertEqual(counts(figures), "4 passed, 10 failed, 1 skipped")
        self.assertEqual(counts(Counter()), "0 passed, 0 failed, 0 skipped")

    def test_passed(self) -> None:
        """A unit is good if both trial's last line and its exit status say so."""
        self.assertTrue(self.result("PASSED (successes=3)\n", 0).is_good)
        self.assertFalse(self.result("FAILED (failures=1)\n", 1).is_good)

    def test_crashed(self) -> None:
        """A process that crashes counts as an error, whatever its output says."""
        for output, status in (("", 1), ("", -9), ("PASSED (successes=3)\n", -11)):
            result = self.result(output, status)
            self.assertFalse(result.is_good)
            self.assertEqual(result.figures["errors"], 1)

    def test_no_summary(self) -> None:
        """A process without a summary line is no success, even with exit status 0."""
        self.assertFalse(self.result("", 0).is_good)
