"""What every result store promises of lists, and of records that are erased or past their time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import gatherResults

from provider_gateway.store.records import Status
from tests.support.stores import NOW, TTL, outcome, record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provider_gateway.store.records import ResultStore


class RemovalContract(ABC):
    """Tests of a store, see :class:`.Contract`."""

    timeout = 60

    @abstractmethod
    async def stores(self, count: int) -> Sequence[ResultStore]:
        """Open several stores on one database, as several processes have them."""

    async def store(self) -> ResultStore:
        (store,) = await self.stores(1)
        return store

    async def test_erase(self: Any) -> None:
        """The owner alone erases: pending becomes canceled, a final record loses its result and what it says."""
        store = await self.store()
        await store.add(record("a"))
        await store.add(record("b", owner=None))
        for owner in ("you", None):
            self.assertIsNone(await store.erase("a", owner, NOW))
        self.assertIsNone(await store.erase("b", "me", NOW))
        self.assertEqual(record("a"), await store.erase("a", "me", NOW + 2))
        canceled = await store.get("a")
        self.assertEqual(
            (Status.CANCELED, NOW + 2, NOW + 2 + TTL), (canceled.status, canceled.finished, canceled.expires)
        )
        await store.finish(outcome("b"))
        self.assertEqual(Status.SUCCEEDED, (await store.erase("b", None, NOW + 3)).status)
        erased = record(
            "b", owner=None, routing_key="", rquid="", status=Status.ERASED, expires=NOW + 3, finished=NOW + 3
        )
        self.assertEqual((erased, None), (await store.get("b"), await store.result("b")))
        self.assertIsNone(await store.erase("b", None, NOW + 4))
        await store.erase("a", "me", NOW)
        self.assertEqual((Status.ERASED, None), ((await store.get("a")).status, (await store.get("a")).owner))

    async def test_erased_stays_erased(self: Any) -> None:
        """No late or repeated reply brings back what was erased; it goes after its time, as others do."""
        store = await self.store()
        ids = ["succeeded", "parked", "expired", "failed", "canceled"]
        for id_ in ids:
            await store.add(record(id_, created=NOW - 1, key=id_.encode(), key_expires=NOW + 9))
            if id_ != "canceled":
                await store.finish(outcome(id_, Status(id_), keeps_key=True))
            else:
                await store.erase(id_, "me", NOW)
            await store.erase(id_, "me", NOW)
            finished = await store.finish(outcome(id_, restored=record(id_)))
            self.assertEqual((False, Status.ERASED), (finished.is_new, finished.record.status), id_)
            self.assertIsNone(await store.result(id_), id_)
            self.assertIsNone(await store.add(record(f"{id_}-2", key=id_.encode(), key_expires=NOW + 9)), id_)
        listed = await store.list("me", now=NOW - 1, status=None, limit=100, after=None)
        self.assertEqual({f"{id_}-2" for id_ in ids}, {each.id for each in listed})
        self.assertEqual([0, len(ids)], [await store.purge(NOW + age, 100) for age in (TTL - 1, TTL)])
        self.assertIsNone(await store.get("parked"))

    async def test_answered_and_erased_at_once(self: Any) -> None:
        """A record that is added, answered and erased in one transaction leaves no result; nor does one in the next."""
        store = await self.store()
        await gatherResults([store.add(record("a")), store.finish(outcome("a")), store.erase("a", "me", NOW)])
        self.assertEqual((Status.ERASED, None), ((await store.get("a")).status, await store.result("a")))

    async def test_list(self: Any) -> None:
        """A list has the owner's records alone, the newest first, in pages, by status, and none past its time."""
        store = await self.store()
        for number in range(7):
            await store.add(record(f"id-{number}", created=NOW + number // 2))
        await store.add(record("other", owner="you"))
        await store.add(record("nobody", owner=None))
        await store.add(record("old", expires=NOW))
        await store.finish(outcome("id-3"))

        async def ids(status: Status | None = None, limit: int = 100, after: str | None = None) -> list[str]:
            last = None if after is None else await store.get(after)
            found = await store.list("me", now=NOW, status=status, limit=limit, after=last)
            return [each.id.removeprefix("id-") for each in found]

        self.assertEqual(list("6543210"), await ids())
        self.assertEqual((list("65"), list("432")), (await ids(limit=2), await ids(limit=3, after="id-5")))
        self.assertEqual((list("3"), list("654210")), (await ids(Status.SUCCEEDED), await ids(Status.PENDING)))
        self.assertEqual([], await ids(after="id-0"))
        await store.erase("id-3", "me", NOW)
        self.assertEqual((list("654210"), list("210")), (await ids(), await ids(after="id-3")))
        gone = record("id-31", created=NOW + 1)  # it is in no table
        found = await store.list("me", now=NOW, status=None, limit=9, after=gone)
        self.assertEqual(["id-2", "id-1", "id-0"], [each.id for each in found])

    async def test_retention(self: Any) -> None:
        """Overdue records are pending ones; a result goes after its time, its record stays as a tombstone as long."""
        store = await self.store()
        for number in range(4):
            await store.add(record(f"id-{number}", created=NOW - number, expires=NOW - number))
        self.assertEqual(["id-3", "id-2"], [each.id for each in await store.overdue(NOW, 2)])
        self.assertEqual(2, len(await store.overdue(NOW - 2, 9)))
        for number in range(4):
            await store.finish(outcome(f"id-{number}", Status.EXPIRED, finished=NOW))
        self.assertEqual([], list(await store.overdue(NOW + 9 * TTL, 9)))
        self.assertEqual(0, await store.purge(NOW + TTL - 1, 100))
        self.assertEqual([3, 1, 0], [await store.purge(NOW + TTL, 3) for _ in range(3)])
        self.assertEqual((None, "id-0"), (await store.result("id-0"), (await store.get("id-0")).id))
        self.assertEqual([0, 4], [await store.purge(NOW + TTL * age, 100) for age in (1.5, 2)])
        self.assertIsNone(await store.get("id-0"))
        await store.add(record("pending", expires=NOW))
        self.assertEqual(0, await store.purge(NOW + 9 * TTL, 100))
