"""The result store on a real PostgreSQL that is killed, frozen, failed over and full, and on PgBouncer."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import psycopg
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from devtools.postgresql import PgBouncer, PostgreSQL as Server, url
from provider_gateway.config.store_url import parse_store_url
from provider_gateway.errors import StoreUnavailable
from provider_gateway.observability.metrics import Metrics
from provider_gateway.store.postgresql import PostgreSQL
from provider_gateway.store.records import Outcome, Record, Result, Status
from provider_gateway.store.sql_store import SQLStore
from tests.support.certificates import certificates
from tests.support.observability import collect_log
from tests.support.postgresql import shared_pooler, shared_server

if TYPE_CHECKING:
    from collections.abc import Callable

#: Seconds after which a store has to be there again once its server is.
SOON = 6.5


def record(id_: str, **values: Any) -> Record:
    """A pending record."""
    known = {"owner": "me", "routing_key": "predict.now", "rquid": "1", "created": 1000.0, "expires": 1e10}
    return Record(id=id_, **{**known, **values})


def outcome(id_: str, body: bytes = b"{}", **values: Any) -> Outcome:
    """How a request succeeded."""
    result = Result(status=200, body=body, content_type="application/json")
    return Outcome(id=id_, status=Status.SUCCEEDED, finished=1001.0, result=result, **values)


class StoreTestCase(TestCase):
    """Stores on one database."""

    timeout = 60

    def setUp(self) -> None:
        self.server = shared_server()
        self.database = self.server.new_database()
        self.address = self.server.url(self.database)

    async def open(self, address: str | None = None) -> SQLStore:
        """A store that is there."""
        store = SQLStore(
            reactor,
            PostgreSQL(parse_store_url(address or self.address)),
            ttl=100,
            wall_clock=lambda: 1000.0,
            metrics=Metrics(),
        )
        self.addCleanup(store.close)
        store.open()
        await self.until(store, is_up=True)
        return store

    async def until(self, store: SQLStore, *, is_up: bool) -> None:
        """Wait until a store is there, or away."""
        if store.is_up is not is_up:
            changed: Deferred[None] = Deferred()
            store.on_change = lambda: changed.callback(None)
            changed.addTimeout(20, reactor)
            await changed
            store.on_change = lambda: None

    async def assert_unavailable(self, operation: Callable[[], Deferred[Any]]) -> None:
        """Check that an operation fails as the interface says."""
        try:
            await operation()
        except StoreUnavailable:
            return
        self.fail("the operation did not fail")

    async def assert_comes_back(self, store: SQLStore, back: Callable[[], object]) -> None:
        """Check that a result that arrives while the server is away is stored soon after it is back."""
        finishing = store.finish(outcome("1"))
        await self.until(store, is_up=False)
        await self.assert_unavailable(lambda: store.add(record("2")))
        await self.assert_unavailable(lambda: store.get("1"))
        await deferToThread(back)
        began = time.monotonic()
        self.assertTrue((await finishing).is_new)
        self.assertLess(time.monotonic() - began, SOON)
        found = await store.result("1")
        assert found is not None
        self.assertEqual(found.body, b"{}")
        self.assertIsNone(await store.add(record("3")))


class FaultTests(StoreTestCase):
    """Faults of the server."""

    async def test_killed(self) -> None:
        """A server that is killed comes back, and the result that waited is stored."""
        store = await self.open()
        await store.add(record("1"))
        self.server.kill()
        await self.assert_comes_back(store, self.server.start)

    async def test_frozen(self) -> None:
        """Operations on a frozen server fail in time; when it goes on, so does the store."""
        store = await self.open()
        await store.add(record("1"))
        self.server.suspend()
        self.addCleanup(self.server.resume)
        began = time.monotonic()
        await gatherResults(
            [
                Deferred.fromCoroutine(self.assert_unavailable(each))
                for each in (lambda: store.add(record("9")), lambda: store.get("1"))
            ]
        )
        self.assertLess(time.monotonic() - began, 7)
        await self.assert_comes_back(store, self.server.resume)

    async def test_closed_while_frozen(self) -> None:
        """A store whose server is frozen closes in time, and no thread stays behind."""
        store = await self.open()
        before = threading.active_count()
        self.server.suspend()
        self.addCleanup(self.server.resume)
        waiting = self.assert_unavailable(lambda: store.add(record("1")))
        failed = Deferred.fromCoroutine(waiting)
        reading = Deferred.fromCoroutine(self.assert_unavailable(lambda: store.get("1")))
        began = time.monotonic()
        await store.close()
        await gatherResults([failed, reading])
        self.assertLess(time.monotonic() - began, 7)
        self.assertLess(threading.active_count(), before)

    async def test_terminated(self) -> None:
        """Connections that an administrator ends are opened again; a result is stored at the second try."""
        store = await self.open()
        await store.add(record("1"))
        self.server.sql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{self.database}'")
        self.assertTrue((await store.finish(outcome("1"))).is_new)
        await self.until(store, is_up=True)
        self.assertIsNone(await store.add(record("2")))

    async def test_no_connection_left(self) -> None:
        """A server without a free connection is a store that is away, and one line says what to do."""
        store = await self.open()
        await store.add(record("1"))
        self.server.sql(
            f"ALTER DATABASE {self.database} CONNECTION LIMIT 0",
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{self.database}'",
        )
        engine = PostgreSQL(parse_store_url(self.address))
        error = self.assertRaises(psycopg.Error, psycopg.connect, **engine.arguments)
        self.assertIn("put PgBouncer in front", engine.explain(error))
        await self.assert_comes_back(
            store, lambda: self.server.sql(f"ALTER DATABASE {self.database} CONNECTION LIMIT -1")
        )

    async def test_failover(self) -> None:
        """With several hosts the new primary is found, and has what was committed."""
        primary = Server(certificates())
        self.addCleanup(primary.remove)
        await deferToThread(primary.start)
        database = primary.new_database()
        standby = Server(certificates(), primary=primary)
        self.addCleanup(standby.remove)
        await deferToThread(standby.start)
        primary.sql(
            "ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()"
        )  # what is committed is there
        store = await self.open(url(database, primary.port, standby.port))
        await store.add(record("1"))
        primary.kill()
        await self.assert_comes_back(store, standby.promote)

    async def test_password_is_not_logged(self) -> None:
        """The log has no password, neither of a login that is refused."""
        logged = collect_log(self)
        store = await self.open()
        self.server.sql(
            "ALTER ROLE gateway VALID UNTIL '2000-01-01'",
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{self.database}'",
        )
        self.addCleanup(self.server.sql, "ALTER ROLE gateway VALID UNTIL 'infinity'")
        await self.assert_unavailable(lambda: store.add(record("1")))
        await self.until(store, is_up=False)
        self.assertNotIn("pg/@", str(logged))
        self.assertNotIn("pg%2F", str(logged))


class PoolerTests(StoreTestCase):
    """PgBouncer in transaction mode in front."""

    async def test_operations(self) -> None:
        """Several stores share few connections of the server."""
        stores = [await self.open(shared_pooler().url(self.database)) for _ in range(3)]
        for number, store in enumerate(stores):
            self.assertIsNone(await store.add(record(str(number))))
        finished = await gatherResults([store.finish(outcome(str(n))) for n, store in enumerate(stores)])
        self.assertTrue(all(each.is_new for each in finished))
        self.assertEqual(len(await stores[0].list("me", now=1.0, status=None, limit=9, after=None)), 3)

    async def test_killed(self) -> None:
        """A pooler that is killed comes back."""
        pooler = PgBouncer(self.server)
        self.addCleanup(pooler.remove)
        pooler.start()
        store = await self.open(pooler.url(self.database))
        await store.add(record("1"))
        pooler.kill()
        await self.assert_comes_back(store, pooler.start)


class ReplicaTests(StoreTestCase):
    """Several stores on one database."""

    async def test_same_keys(self) -> None:
        """Of requests with the same key that arrive at two replicas at once, one is added; all others get it."""
        stores = [await self.open(), await self.open()]
        keys = [bytes([number]) * 32 for number in range(40)]
        adding = [
            store.add(record(f"{number}-{which}", key=key, key_expires=1e10))
            for which, store in enumerate(stores)
            for number, key in (enumerate(keys) if which else reversed(list(enumerate(keys))))
        ]
        held = await gatherResults(adding)
        self.assertEqual(sum(each is None for each in held), len(keys))
        self.assertEqual(len({each.id for each in held if each is not None}), len(keys))

    async def test_same_requests(self) -> None:
        """Results that arrive twice at two replicas in different orders are stored once each, without an error."""
        stores = [await self.open(), await self.open()]
        ids = [str(number) for number in range(100)]
        await gatherResults([stores[0].add(record(id_)) for id_ in ids])
        finishing = [
            store.finish(outcome(id_)) for store, order in zip(stores, (ids, ids[::-1]), strict=True) for id_ in order
        ]
        finished = await gatherResults(finishing)
        self.assertEqual(sum(each.is_new for each in finished), len(ids))

    async def test_poison_fails_alone(self) -> None:
        """An operation that PostgreSQL does not take fails alone; a result of its kind becomes a failure."""
        store = await self.open()
        poison = record("x", owner="".join(chr(0x4E00 + n * 7 % 20000) for n in range(100_000)))
        good = [store.add(record(str(number))) for number in range(5)]
        await self.assert_unavailable(lambda: store.add(poison))
        self.assertEqual(await gatherResults(good), [None] * 5)
        bad, fine = await gatherResults([store.finish(outcome("1", attempts=10**30)), store.finish(outcome("2"))])
        self.assertEqual((bad.record.status, fine.record.status), (Status.FAILED, Status.SUCCEEDED))
        self.flushLoggedErrors()
