"""What every result store promises: one suite for SQLite, PostgreSQL, and the store in memory that other tests use."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from twisted.internet.defer import Deferred, gatherResults

from provider_gateway.errors import StoreUnavailable
from provider_gateway.store.records import Finished, Result, Status
from tests.support.store_removal import RemovalContract
from tests.support.stores import NOW, ODD, TTL, outcome, record


class Contract(RemovalContract):
    """Tests of a store. A subclass is a ``TestCase`` that makes stores of one database."""

    async def test_record(self: Any) -> None:
        """A record comes back as it was added, whatever its texts are; adding it again changes nothing."""
        store = await self.store()
        plain = record("a", owner=None)
        odd = record(
            ODD,
            **dict.fromkeys(("owner", "routing_key", "rquid", "webhook"), ODD),
            key=bytes(range(255)),
            fingerprint=b"\0\xff",
            key_expires=NOW + 5,
            accept_by=NOW + 30.001,
        )
        for each in (plain, odd):
            self.assertIsNone(await store.add(each))
            self.assertIsNone(await store.add(replace(each, rquid="other")))
            self.assertEqual(each, await store.get(each.id))
        self.assertIsNone(await store.get("unknown"))
        self.assertIsNone(await store.result("a"))

    async def test_long_names(self: Any) -> None:
        """Names may be as long as AMQP allows."""
        store = await self.store()
        long = record("i" * 255, owner="\u00e9" * 255, routing_key="k" * 255, rquid="\u6a21" * 255, key=b"k" * 255)
        await store.add(replace(long, key_expires=NOW + 1))
        self.assertEqual(replace(long, key_expires=NOW + 1), await store.get(long.id))
        self.assertEqual(
            [long.id], [e.id for e in await store.list(long.owner, now=NOW, status=None, limit=9, after=None)]
        )

    async def test_finish(self: Any) -> None:
        """An outcome makes the record final, and its result comes back byte for byte."""
        store = await self.store()
        await store.add(record("a", accept_by=NOW + 30))
        result = Result(
            status=418, body=bytes(range(256)), headers={"X-A": ODD, "x-b": ""}, content_type=ODD, content_encoding="br"
        )
        given = outcome("a", Status.FAILED, result=result, attempts=3, model_status=418)
        finished = await store.finish(given)
        expected = replace(
            *(record("a"),),
            status=Status.FAILED,
            finished=NOW + 1,
            expires=NOW + 1 + TTL,
            attempts=3,
            model_status=418,
        )
        self.assertEqual(Finished(record=expected, is_new=True), finished)
        self.assertEqual((expected, result), (await store.get("a"), await store.result("a")))

    async def test_large_results(self: Any) -> None:
        """Bodies of 10 MiB come back, several at a time, and empty ones."""
        store = await self.store()
        bodies = {str(number): bytes([number]) * (10 * 1024 * 1024) for number in range(3)} | {"empty": b""}
        await gatherResults([store.add(record(id_)) for id_ in bodies])
        await gatherResults([store.finish(outcome(id_, body=body)) for id_, body in bodies.items()])
        for id_, body in bodies.items():
            self.assertEqual(body, (await store.result(id_)).body)

    async def test_first_answer_stays(self: Any) -> None:
        """A reply replaces pending, parked and expired; never a success, a failure or a cancellation."""
        store = await self.store()
        for number, status in enumerate(Status):
            id_ = f"id-{number}"
            await store.add(record(id_))
            if status is Status.CANCELED:
                await store.erase(id_, "me", NOW)
            elif status is not Status.PENDING:
                await store.finish(outcome(id_, status, b"first"))
            finished = await store.finish(outcome(id_, Status.SUCCEEDED, b"second"))
            replaced = status in {Status.PENDING, Status.PARKED, Status.EXPIRED}
            self.assertEqual(replaced, finished.is_new, status)
            self.assertEqual(Status.SUCCEEDED if replaced else status, finished.record.status, status)
            if status is not Status.CANCELED:
                self.assertEqual(b"second" if replaced else b"first", (await store.result(id_)).body, status)

    async def test_unknown_outcome(self: Any) -> None:
        """An outcome of an unknown id is stored if its record can be restored, and dropped if not."""
        store = await self.store()
        self.assertEqual(Finished(record=None, is_new=False), await store.finish(outcome("a")))
        self.assertIsNone(await store.get("a"))
        finished = await store.finish(outcome("a", restored=record("a", owner="you")))
        self.assertEqual((True, "you"), (finished.is_new, finished.record.owner))
        self.assertEqual(b"{}", (await store.result("a")).body)
        self.assertFalse((await store.finish(outcome("a", restored=record("a")))).is_new)

    async def test_keys(self: Any) -> None:
        """A key belongs to one record until it expires, or the outcome or an erasure frees it."""
        store = await self.store()
        key = {"key": b"k", "fingerprint": b"f", "key_expires": NOW + 10}
        first = record("a", **key)
        self.assertIsNone(await store.add(first))
        self.assertEqual(first, await store.add(record("b", **key)))
        self.assertIsNone(await store.get("b"))
        await store.finish(outcome("a", keeps_key=True))
        self.assertEqual("a", (await store.add(record("b", **key))).id)
        self.assertIsNone(await store.add(record("c", **{**key, "created": NOW + 10, "key_expires": NOW + 20})))
        self.assertEqual((None, b"k"), ((await store.get("a")).key, (await store.get("c")).key))
        await store.finish(outcome("c", Status.FAILED))
        self.assertIsNone((await store.get("c")).key)
        self.assertIsNone(await store.add(record("d", **key)))
        await store.erase("d", "me", NOW)
        self.assertIsNone(await store.add(record("e", **key)))
        await store.discard("e")
        self.assertIsNone(await store.add(record("f", **key)))

    async def test_key_prolongs(self: Any) -> None:
        """A result is kept as long as its key, if that is longer."""
        store = await self.store()
        await store.add(record("a", key=b"k", key_expires=NOW + 5000))
        await store.add(record("b", key=b"l", key_expires=NOW + 5000))
        self.assertEqual(NOW + 5001, (await store.finish(outcome("a", keeps_key=True))).record.expires)
        self.assertEqual(NOW + 1001, (await store.finish(outcome("b"))).record.expires)

    async def test_accept_and_take_over(self: Any) -> None:
        """A pending record is taken over by one of several who saw the same; not once it is accepted."""
        one, other = await self.stores(2)
        await one.add(record("a", accept_by=NOW + 30.001))
        seen = (await other.get("a")).accept_by
        won = await gatherResults(
            [store.take_over("a", seen, NOW + 60 + number) for number in range(10) for store in (one, other)]
        )
        self.assertEqual(1, sum(won))
        await one.accept("a")
        self.assertIsNone((await other.get("a")).accept_by)
        self.assertFalse(await other.take_over("a", NOW + 60, NOW + 90))
        self.assertFalse(await other.take_over("unknown", NOW, NOW + 90))
        await other.accept("unknown")

    async def test_expire_at(self: Any) -> None:
        """A pending record expires when it is told to; what is final stays as it is."""
        one, other = await self.stores(2)
        await one.add(record("a"))
        for expires, overdue in ((NOW + 5, 1), (NOW + 2000, 0)):
            await one.expire_at("a", expires)
            self.assertEqual(expires, (await other.get("a")).expires)
            self.assertEqual(overdue, len(await other.overdue(NOW + 5, 10)))
        await one.finish(outcome("a"))
        await one.expire_at("a", NOW + 5)
        self.assertEqual(NOW + 1001, (await one.get("a")).expires)
        await one.expire_at("unknown", NOW)

    async def test_discard(self: Any) -> None:
        """Only a pending record is discarded."""
        store = await self.store()
        await store.add(record("a"))
        await store.add(record("b"))
        await store.finish(outcome("b"))
        for id_ in ("a", "b", "c"):
            await store.discard(id_)
        self.assertEqual([None, "b"], [await store.get("a"), (await store.get("b")).id])

    async def test_what_an_outcome_replaces(self: Any) -> None:
        """Of two replicas that end an overdue record one has ended it; an answer that came meanwhile stays."""
        store, other = await self.stores(2)
        for id_ in ("a", "b"):
            await store.add(record(id_))
        await store.finish(outcome("b", Status.PARKED, b"parked"))
        ended = {"status": Status.EXPIRED, "body": b"late", "replaces": frozenset({Status.PENDING})}
        found = await gatherResults([each.finish(outcome("a", **ended)) for each in (store, other)])
        self.assertEqual([False, True], sorted(each.is_new for each in found))
        self.assertFalse((await store.finish(outcome("b", **ended))).is_new)
        self.assertEqual(b"parked", (await store.result("b")).body)

    async def test_figures(self: Any) -> None:
        """The figures count pending records."""
        store = await self.store()
        self.assertEqual((0, None), ((await store.figures()).pending, (await store.figures()).oldest_pending))
        await store.add(record("a", created=NOW - 5))
        await store.add(record("b"))
        await store.add(record("c", created=NOW - 9))
        await store.finish(outcome("c"))
        figures = await store.figures()
        self.assertEqual((2, NOW - 5), (figures.pending, figures.oldest_pending))

    async def test_order(self: Any) -> None:
        """Operations on one record that are not awaited are done in their order."""
        store = await self.store()
        operations: list[Deferred[Any]] = []
        for number in range(50):
            operations += [store.add(record(f"{number}")), store.accept(f"{number}")]
            operations += [store.finish(outcome(f"{number}")), store.erase(f"{number}", "me", NOW)]
            operations += [store.add(record(f"{number}", rquid="again"))]
        await gatherResults(operations)
        self.assertEqual({Status.ERASED}, {(await store.get(f"{number}")).status for number in range(50)})
        self.assertIsNone(await store.result("49"))

    async def test_same_key_at_once(self: Any) -> None:
        """Two processes that add the same key at the same time agree who has it."""
        stores = await self.stores(2)
        for number in range(10):
            key = {"key": bytes([number]), "key_expires": NOW + 9}
            ids = [f"{number}-{place}" for place in range(6)]
            holders = await gatherResults([stores[place % 2].add(record(id_, **key)) for place, id_ in enumerate(ids)])
            (winner,) = [id_ for id_, holder in zip(ids, holders, strict=True) if holder is None]
            self.assertEqual({winner}, {holder.id for holder in holders if holder is not None})

    async def test_one_outcome_at_once(self: Any) -> None:
        """A reply that is delivered to two processes is stored once."""
        stores = await self.stores(2)
        ids = [str(number) for number in range(50)]
        await gatherResults([stores[0].add(record(id_)) for id_ in ids])
        order = (ids, ids[::-1])
        finished = await gatherResults(
            [stores[place].finish(outcome(id_)) for place in range(2) for id_ in order[place]]
        )
        self.assertEqual(50, sum(each.is_new for each in finished))
        self.assertEqual({Status.SUCCEEDED}, {each.record.status for each in finished})


class ClosedContract:
    """What a closed store on a database does."""

    async def test_closed(self: Any) -> None:
        """What was committed before the end is there at the next start; a closed store takes nothing."""
        (store,) = await self.stores(1)
        last = store.add(record("a"))
        await store.close(5)
        self.assertIsNone(await last)
        for call in (store.get("a"), store.add(record("b")), store.finish(outcome("a"))):
            await self.assertFailure(call, StoreUnavailable)
        (again,) = await self.stores(1)
        self.assertEqual("a", (await again.get("a")).id)
