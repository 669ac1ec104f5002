"""The list of failed tests at the end of a run, read from what trial writes."""

from __future__ import annotations

import io
import os
import subprocess
import sys

from twisted.trial.reporter import TreeReporter
from twisted.trial.unittest import SynchronousTestCase, TestSuite

from devtools.failures import LENGTH, Failed, failures_of, section
from devtools.run_tests import Result, Unit, closing
from tests.support.folders import ROOT, folder


class Sample(SynchronousTestCase):
    """Is run by the tests of this module; each method but one fails in its own way."""

    def passes(self) -> None:
        """Passes."""

    def fails(self) -> None:
        self.assertEqual([1, 2], [3])

    def asserts(self) -> None:
        msg = "there was no reload:\n{line}\n\nmore words\n"
        raise AssertionError(msg)

    def ends_like_a_list(self) -> None:
        msg = f"its text\n{'=' * 79}\nhas lines as trial has\n\ntests.name"
        raise ValueError(msg)

    def says_nothing(self) -> None:
        raise ValueError

    def says_much(self) -> None:
        raise ValueError("x" * 1000)

    def chained(self) -> None:
        msg = "the second"
        raise ValueError(msg) from KeyError("the first")

    def _misses(self) -> None:
        raise KeyError("location")

    def same(self) -> None:
        self._misses()

    def same_again(self) -> None:
        self._misses()

    def not_expected(self) -> None:
        """Passes, though it is to fail."""


Sample.not_expected.todo = "later"  # type: ignore[attr-defined] # as trial wants it


def trial(*names: str) -> str:
    """The output of a run of samples."""
    out = io.StringIO()
    reporter = TreeReporter(out, realtime=True)
    TestSuite([Sample(name) for name in names]).run(reporter)
    reporter.done()
    return out.getvalue()


def name(method: str) -> str:
    """The name of a sample."""
    return f"{__name__}.Sample.{method}"


class FailuresTests(SynchronousTestCase):
    """Failed tests in trial's output."""

    def tearDown(self) -> None:
        self.flushLoggedErrors()

    def test_exceptions(self) -> None:
        """Each failed test is found, with its exception in one line, whatever lines this has."""
        for method, how, why in (
            ("fails", "FAIL", "twisted.trial.unittest.FailTest: Lists differ: [1, 2] != [3] First differing"),
            ("asserts", "ERROR", "builtins.AssertionError: there was no reload: {line} more words"),
            (
                "ends_like_a_list",
                "ERROR",
                f"builtins.ValueError: its text {'=' * 79} has lines as trial",
            ),
            ("says_nothing", "ERROR", "builtins.ValueError:"),
            ("chained", "ERROR", "builtins.ValueError: the second"),
            ("not_expected", "SUCCESS!?!", "Reason: 'later'"),
        ):
            (found,) = failures_of(trial("passes", method))
            self.assertEqual((found.how, found.test), (how, name(method)))
            self.assertTrue(found.why.startswith(why), found.why)

    def test_together(self) -> None:
        """Tests that failed in the same way, which trial tells in one section, are listed one by one."""
        found = failures_of(trial("same", "fails", "same_again"))
        self.assertEqual([each.test for each in found], [name(each) for each in ("fails", "same", "same_again")])
        self.assertEqual({each.why for each in found[1:]}, {"builtins.KeyError: 'location'"})

    def test_long(self) -> None:
        """The text of an exception is shortened."""
        (found,) = failures_of(trial("says_much"))
        self.assertEqual(len(found.why), LENGTH)
        self.assertTrue(found.why.endswith("xxx…"))

    def test_several_runs(self) -> None:
        """The output of several runs, and words between them."""
        output = f"{trial('says_nothing')}words\n{'=' * 120}\n{trial('passes')}{trial('chained')}"
        self.assertEqual([each.test for each in failures_of(output)], [name("says_nothing"), name("chained")])
        self.assertEqual(failures_of(trial("passes")), [])
        self.assertEqual(failures_of(""), [])

    def test_section(self) -> None:
        """A section of ours is found as one of trial's, also behind a line that has no end."""
        for before in ("", "words", trial("says_nothing")):
            found = failures_of(before + section("ERROR", "tests.a tests.b", "why"))
            self.assertEqual(found[-1], Failed("ERROR", "tests.a tests.b", "why"))


class ClosingTests(SynchronousTestCase):
    """The last lines of a run."""

    def tearDown(self) -> None:
        self.flushLoggedErrors()

    def result(self, unit: str, output: str, status: int) -> Result:
        return Result(Unit(unit, ()), 1.0, output, status)

    def test_failed(self) -> None:
        """Failed tests and crashed processes are listed, each with why; the last line counts them."""
        results = [
            self.result("tests.a", trial("passes", "passes"), 0),
            self.result("tests.b tests.c", trial("passes", "says_nothing"), 1),
            self.result("tests.d", f"{trial('passes')}Segmentation fault", -11),
        ]
        self.assertEqual(
            closing(results, 2.0).splitlines(),
            [
                "",
                "Failed (the output is above):",
                "  tests.b tests.c",
                "  tests.d",
                "",
                f"ERROR {name('says_nothing')}",
                "    builtins.ValueError:",
                "ERROR tests.d",
                "    trial ended with status -11: Segmentation fault",
                "",
                "Ran 6 tests in 2.0s",
                "",
                "FAILED (errors=2, successes=4)",
                "4 passed, 2 failed, 0 skipped",
            ],
        )

    def test_passed(self) -> None:
        """Nothing is listed if nothing failed."""
        lines = closing([self.result("tests.a", trial("passes"), 0)], 2.0).splitlines()
        self.assertEqual(
            lines, ["", "Ran 1 tests in 2.0s", "", "PASSED (successes=1)", "1 passed, 0 failed, 0 skipped"]
        )


class IntegrationScriptTests(SynchronousTestCase):
    """``.ci/run``, with another ``make``."""

    def run_script(self, **outputs: str) -> list[str]:
        """Its last lines.

        Args:
            outputs: of a target of make, by its name with "_" for "-"; the others pass one test.
        """
        project = folder() / self.id()
        (project / ".ci").mkdir(parents=True)
        (project / ".ci/run").write_bytes((ROOT / ".ci/run").read_bytes())
        (project / "devtools").symlink_to(ROOT / "devtools")
        (project / ".venv/bin").mkdir(parents=True)
        (project / ".venv/bin/python").symlink_to(sys.executable)
        for target, output in outputs.items():
            (project / target.replace("_", "-")).write_text(output, encoding="utf-8")
        make = project / "make"
        make.write_text('#!/bin/sh\ncat "$1" 2>/dev/null || { echo "PASSED (successes=1)"; exit 0; }\nexit 2\n')
        make.chmod(0o755)
        environment = {**os.environ, "PATH": f"{project}:{os.environ['PATH']}"}
        ended = subprocess.run(
            ["bash", project / ".ci/run"], env=environment, capture_output=True, text=True, check=False
        )
        self.assertEqual((ended.returncode, ended.stderr), (1 if outputs else 0, ""))
        return ended.stdout.splitlines()

    def test_failed(self) -> None:
        """Before its last line are the failed tests of each command, with their exceptions."""
        versions = f"{trial('passes')}{trial('says_nothing')}"
        lines = self.run_script(test_versions=versions, test_debian13="no debootstrap\n")
        self.assertEqual(
            lines[-6:],
            [
                "Failed with status 2: make test-versions",
                f"ERROR {name('says_nothing')}",
                "    builtins.ValueError:",
                "Failed with status 2: make test-debian13 TESTS=tests.contract tests.integration tests.unit",
                "",
                "2 passed, 1 failed, 0 skipped",
            ],
        )

    def test_passed(self) -> None:
        """Nothing is listed if nothing failed."""
        self.assertEqual(self.run_script()[-2:], ["PASSED (successes=1)", "3 passed, 0 failed, 0 skipped"])
