"""A gateway is killed between each two steps of a kept request; the numbers are rows of the fault matrix.

Steps of a submission: row, publish, confirm, acceptance (for a key), 202. Steps of a reply: delivery, commit, notice,
acknowledgement. Each kill is at a certain frame or commit, so that no step is met by chance only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred

from tests.faults.kept_callers import Way
from tests.faults.steps import FROM_BROKER, TO_BROKER, OnPostgreSQL, OnSQLite, StepTestCase

if TYPE_CHECKING:
    from tests.faults.kept_callers import KeptCallers
    from tests.faults.kept_ledger import Entry

#: Seconds after which a request whose publish is not known to be confirmed may be published again.
ACCEPT_WITHIN = 30
KEYED, UNKEYED = Way("respond-async", key=True), Way("respond-async")


class Steps(StepTestCase):
    """The steps, for each store."""

    async def submitted(self, kind: str = "echo") -> tuple[KeptCallers, Deferred[Entry]]:
        """Send a request whose gateway will be killed; its caller tries again until another gateway answers."""
        # The broker may confirm a message later than its reply comes. Then nothing is left to note, and to commit.
        released, callers = self.hold(), self.kept_callers()
        sending = Deferred.fromCoroutine(callers.send(KEYED, kind))
        await self.killed()
        released.callback(None)
        return callers, sending

    async def submission(self, passes: float = 0) -> None:
        """The gateway is killed while it takes a request: the caller gets one id, and the right answer.

        Args:
            passes: seconds until another gateway may publish it again; until then the caller is promised nothing.
        """
        callers, sending = await self.submitted()
        if passes:
            await self.look_until("told that it is in progress", lambda: self.is_told(callers))
            self.assertEqual(self.kept.told.keys() - self.ended, set())
            self.wall.step(passes + 1)
        entry = await sending
        await self.kept_balances(callers)
        self.ended |= entry.ids
        # By now the answer may be there; then it comes at once. A confirm that is late makes a 504 with an id before.
        outcomes = (1, 0, "succeeded"), (0, 1, None), (1, 1, None), (1, 1, "succeeded")
        self.assertIn((len(entry.ids), entry.direct, entry.state), outcomes)

    async def is_told(self, callers: KeptCallers) -> bool:
        return bool(callers.statuses["409 idempotency-in-progress"])

    async def submissions(self) -> None:
        """The kills between row, publish, confirm, acceptance and 202."""
        self.trap.set(committed=False)
        await self.submission()
        self.trap.set(committed=True)
        await self.submission(passes=ACCEPT_WITHIN)
        self.kill_at(TO_BROKER, "basic.publish", self.exchange)
        await self.submission(passes=ACCEPT_WITHIN)
        self.kill_at(FROM_BROKER, "basic.ack")
        await self.submission()
        for committed in (False, True):
            self.kill_at_commit(FROM_BROKER, "basic.ack", committed=committed)
            await self.submission()

    async def reply(self, way: Way = UNKEYED) -> None:
        """The gateway is killed while it takes a reply: the answer is there, and the model was called once."""
        killing, self.killing = self.killing, None
        released, callers = self.hold(), self.kept_callers()
        entry = await callers.send(way, "bytes")
        self.killing = killing
        released.callback(None)
        await self.killed()
        await self.kept_balances(callers)
        self.assertEqual((len(entry.ids), self.kept_model.calls[entry.request], entry.state), (1, 1, "succeeded"))

    async def replies(self) -> None:
        """The kills between delivery, commit, notice and acknowledgement."""
        results, delivered = f"{self.output}.results", (FROM_BROKER, "basic.deliver", f"{self.output}.results")
        self.kill_at(*delivered)
        await self.reply()
        for committed in (False, True):
            self.kill_at_commit(*delivered, committed=committed)
            await self.reply()
        self.kill_at(TO_BROKER, "basic.publish", f"{self.output}.done")
        await self.reply()
        self.kill_at(TO_BROKER, "basic.ack")
        await self.reply(KEYED)
        await self.look_until("nothing in the results queue", lambda: self.is_empty(results))

    async def is_empty(self, queue: str) -> bool:
        return not await self.waiting(queue)


class SQLiteStepTests(Steps, OnSQLite):
    """With SQLite."""

    async def test_35_submission_sqlite(self) -> None:
        """SIGKILL between each two steps of a submission, with SQLite: one id, one call, the right answer."""
        await self.submissions()

    async def test_35_reply_sqlite(self) -> None:
        """SIGKILL between each two steps of a reply, with SQLite: one call, the right answer."""
        await self.replies()


class PostgreSQLStepTests(Steps, OnPostgreSQL):
    """With PostgreSQL."""

    async def test_35_submission_postgresql(self) -> None:
        """SIGKILL between each two steps of a submission, with PostgreSQL: one id, one call, the right answer."""
        await self.submissions()

    async def test_35_reply_postgresql(self) -> None:
        """SIGKILL between each two steps of a reply, with PostgreSQL: one call, the right answer."""
        await self.replies()
