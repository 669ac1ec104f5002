"""``parking replay`` and ``drop``."""

from __future__ import annotations

import json
import sys
from io import StringIO
from typing import Any

from twisted.internet.defer import Deferred

from provider_gateway.commands.acting import Act, act
from provider_gateway.commands.outcomes import Ended, Status
from provider_gateway.commands.running import Interruption
from provider_gateway.parking.errors import ParkingBusy
from tests.unit.commands.base import CommandTestCase, parked


class ActingTestCase(CommandTestCase):
    """Runs the commands."""

    def setUp(self) -> None:
        super().setUp()
        self.interruption = Interruption(lambda: None)

    def act(self, wanted: Any = None, action: Any = "replay", **options: Any) -> Any:
        what = Act(action, **{"rate": None, "dry_run": False, "yes": True, **options})
        return act(self.reactor, self.parking, wanted or self.wanted(), self.interruption, what)

    def answer(self, text: str) -> None:
        self.patch(sys, "stdin", StringIO(text))


class QuestionTests(ActingTestCase):
    """What is asked before anything is done."""

    def test_yes(self) -> None:
        """The question has the number and the reasons; what was agreed on is done, and nothing that comes meanwhile."""
        for answer in ("y\n", "Yes\n", " y \n", "y"):
            self.answer(answer)
            timeouts = self.wanted(reasons=frozenset(["timeout"]))
            self.assertEqual(Status.DONE, self.result_of(self.act(timeouts, yes=False)))
            (request,) = self.parking.started
            self.parking.started.clear()
            self.assertEqual(frozenset([f"{1:032x}", f"{3:032x}"]), request.filter.ids)
            self.assertEqual(frozenset(["timeout"]), request.filter.reasons)
        self.assertIn("fib: 3 messages in fib.parking; 2 match\nREASON", self.err.text())
        self.assertIn("Replay 2 messages? [y/N] ", self.err.text())

    def test_all(self) -> None:
        """That it is all messages, or that they are deleted for good, is in the question."""
        self.answer("y\ny\n")
        self.result_of(self.act(yes=False))
        self.assertIn("Replay all 3 messages? [y/N] ", self.err.text())
        self.result_of(self.act(action="drop", yes=False))
        self.assertIn("Drop all 3 messages for good? [y/N] ", self.err.text())

    def test_no(self) -> None:
        """Any other answer does nothing."""
        for answer in ("n\n", "\n", "yess\n", "3\n"):
            self.answer(answer)
            error = self.error_of(self.act(yes=False), Ended)
            self.assertEqual((Status.FAILED, "canceled; nothing was done"), (error.status, str(error)))
        self.assertEqual([], self.parking.started)

    def test_nobody(self) -> None:
        """Without anybody to answer, the error names the option."""
        for stdin in (StringIO(), None):
            self.patch(sys, "stdin", stdin)
            error = self.error_of(self.act(yes=False), Ended)
            self.assertEqual(Status.USAGE, error.status)
            self.assertIn("--yes", str(error))
        self.assertEqual([], self.parking.started)

    def test_nothing(self) -> None:
        """If nothing matches, nothing is asked."""
        error = self.error_of(self.act(self.wanted(rquid="x"), yes=False), Ended)
        self.assertEqual(Status.NOTHING, error.status)
        self.assertNotIn("[y/N]", self.err.text())

    def test_not_asked(self) -> None:
        """With ``--yes`` and ``--dry-run`` nobody is asked, and the conditions are as they were given."""
        for options in ({"yes": True}, {"yes": False, "dry_run": True}):
            self.result_of(self.act(self.wanted(rquid="rq-1"), **options))
            self.assertEqual(self.wanted(rquid="rq-1").filter, self.parking.started.pop().filter)
        self.assertEqual("", self.err.text())


class JobTests(ActingTestCase):
    """What is done, and what is said of it."""

    def test_request(self) -> None:
        """The job is told everything that the user gave."""
        self.result_of(self.act(action="drop", rate=5.0))
        self.result_of(self.act(force=True, dry_run=True))
        first, last = self.parking.started
        self.assertEqual(
            ("drop", "fib", 5.0, False, False), (first.action, first.queue, first.rate, first.force, first.dry_run)
        )
        self.assertEqual(("replay", True, True), (last.action, last.force, last.dry_run))
        self.assertTrue(first.operator.name)
        self.assertTrue(first.operator.host)

    def test_outcomes(self) -> None:
        """The line says what was done and what was not; the status is 0 only if all was."""
        for outcome, status, line in (
            ({"state": "done", "done": 3}, 0, "fib: 3 messages replayed"),
            ({"state": "done", "total": 0}, 3, "fib: 0 messages replayed"),
            (
                {"state": "done", "done": 1, "failed": 2},
                1,
                "fib: 1 message replayed; 2 could not be published and stay parked",
            ),
            (
                {"state": "done", "done": 1, "skipped": 2},
                1,
                "fib: 1 message replayed; 2 left out, which were replayed too often (--force replays them)",
            ),
            ({"state": "done", "done": 1, "missing": 2}, 1, "fib: 1 message replayed; 2 gone meanwhile"),
            ({"state": "canceled", "done": 1}, 1, "fib: 1 message replayed; 2 not reached, and still parked; canceled"),
            ({"state": "failed", "done": 2}, 1, "fib: 2 messages replayed; 1 not reached, and still parked; failed"),
        ):
            self.parking.outcome = outcome
            self.assertEqual(status, self.result_of(self.act()), outcome)
            self.assertEqual(line, self.out.text().splitlines()[-1])

    def test_error(self) -> None:
        """The error of the last message that failed is on standard error, whatever it holds."""
        self.parking.outcome = {"state": "done", "failed": 3, "error": "no queue\x1b[2J\nis bound"}
        self.result_of(self.act())
        self.assertEqual("provider-gateway: no queue\\x1b[2J\\x0ais bound\n", self.err.text())

    def test_dry_run(self) -> None:
        """A dry run says what would be done."""
        self.parking.outcome = {"state": "done", "done": 2}
        self.assertEqual(Status.DONE, self.result_of(self.act(dry_run=True)))
        self.assertEqual("fib: 2 messages would be replayed\n", self.out.text())

    def test_json(self) -> None:
        """In a pipe it is the job as JSON."""
        self.parking.outcome = {"state": "done", "done": 3}
        self.result_of(self.act(self.wanted(plain=True)))
        found = json.loads(self.out.text())
        self.assertEqual(("j1", "done", 3, 3), (found["id"], found["state"], found["done"], found["total"]))

    def test_refused(self) -> None:
        """A job that could not begin ends the command with its error."""
        self.parking.job_error = ParkingBusy("bob is at it")
        self.error_of(self.act(), ParkingBusy)
        self.assertEqual("", self.out.text())

    def test_interrupted(self) -> None:
        """Ctrl-C cancels the job; what was done until it stopped is said, and the status is that of the signal."""
        self.parking.outcome = None
        running = Deferred.fromCoroutine(self.act())
        self.assertNoResult(running)
        self.interruption.come(2)
        self.assertEqual(Status.INTERRUPTED, self.successResultOf(running))
        self.assertEqual("fib: 1 message replayed; 2 not reached, and still parked; canceled\n", self.out.text())
        self.assertIn("stopping: ", self.err.text())

    def test_interrupted_too_late(self) -> None:
        """A signal that comes when all is done changes nothing."""
        self.parking.outcome = None
        running = Deferred.fromCoroutine(self.act())
        self.interruption.signal = 2
        self.parking.jobs[0].end(state="done", done=3)
        self.assertEqual(Status.DONE, self.successResultOf(running))

    def test_same_id(self) -> None:
        """Messages that are alike have the same id: a limit holds for the job, too."""
        self.parking.messages = [(parked(1), b"{}"), (parked(1), b"{}")]
        self.answer("y\n")
        self.result_of(self.act(self.wanted(limit=1), yes=False))
        self.assertEqual(1, self.parking.started[0].filter.limit)
