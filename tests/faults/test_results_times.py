"""RESULT_TTL passes while requests are pending, waited for, and fetched; the numbers are rows of the fault matrix."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred

from tests.faults.keeping import KeepingTestCase, SQLiteStore
from tests.faults.kept_callers import Way
from tests.support.stepped_clock import SteppedClock

if TYPE_CHECKING:
    from tests.faults.kept_ledger import Reply

TTL = 3600
ASYNC = Way("respond-async")


class TimesTests(KeepingTestCase):
    """A gateway whose wall clock is set past RESULT_TTL."""

    async def setUp(self) -> None:
        await super().setUp()
        self.store = SQLiteStore(self.folder)
        self.wall = SteppedClock(self.folder)
        self.wall.step(TTL)
        times = {"RESULT_TTL": str(TTL), "IDEMPOTENCY_TTL": str(TTL), "REPLY_TIMEOUT": "60"}
        await self.serve_ready(**times, **self.wall.environment)
        self.callers = self.kept_callers()

    async def get(self, id_: str, path: str = "", wait: int = 0) -> Reply:
        """Ask for a request, or for its result."""
        headers = {"Prefer": f"wait={wait}"} if wait else {}
        return await self.lean.ask(self.ports[0], "GET", f"/v1/requests/{id_}{path}", headers)

    async def status(self, id_: str) -> str | int:
        """The status of a request, or the HTTP status of the error."""
        reply = await self.get(id_)
        return str(json.loads(reply.body)["status"]) if reply.status == 200 else reply.status

    async def is_(self, id_: str, status: str | int) -> bool:
        return await self.status(id_) == status

    async def test_41_pending(self) -> None:
        """RESULT_TTL passes in the middle of a long-poll: it is told that the request expired; a late answer counts."""
        released = self.hold()
        entry = await self.callers.send(ASYNC, "bytes")
        (id_,) = entry.ids
        waiting = Deferred.fromCoroutine(self.get(id_, "/result", wait=60))
        self.assertEqual(await self.status(id_), "pending")
        self.wall.step(TTL + 1)
        reply = await waiting
        self.assertEqual((reply.status, json.loads(reply.body)["type"].rpartition(":")[2]), (504, "deadline-passed"))
        self.assertEqual(await self.status(id_), "expired")
        released.callback(None)
        await self.look_until("the answer", lambda: self.is_(id_, "succeeded"))
        self.kept.ended(entry, "succeeded")
        self.kept.fetched(entry, "succeeded", await self.get(id_, "/result"))
        self.kept.check(self)

    async def test_41_purged(self) -> None:
        """After RESULT_TTL the answer is gone: 410, also for who waits. After as long again the id is unknown: 404."""
        entry = await self.callers.send(ASYNC, "bytes")
        (id_,) = entry.ids
        await self.kept_balances(self.callers)
        self.wall.step(TTL + 1)
        for path in ("", "/result"):
            self.assertEqual((await self.get(id_, path, wait=5)).status, 410)
        await self.look_until("no body", lambda: self.has_rows("results", 0))
        self.assertEqual(await self.status(id_), 410)
        self.wall.step(TTL + 1)
        await self.look_until("no row", lambda: self.has_rows("requests", 0))
        self.assertEqual(await self.status(id_), 404)

    async def has_rows(self, table: str, count: int) -> bool:
        found = await self.rows(f"SELECT count(*) FROM {table}")
        return bool(found == [(count,)])
