"""Store, broker, clock and processes fail while answers are kept; the numbers are rows of the fault matrix."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.threads import deferToThread

from devtools.ports import free_ports
from devtools.postgresql import PostgreSQL
from tests.faults.keeping import KeepingTestCase, PostgreSQLStore, SQLiteStore, running_postgresql
from tests.faults.kept_callers import Way
from tests.faults.serving import pause
from tests.faults.store_writes import Fault, StoreWrites
from tests.support.certificates import certificates
from tests.support.stepped_clock import SteppedClock

if TYPE_CHECKING:
    from tests.faults.kept_ledger import Reply
    from tests.support.processes import Gateway

#: Requests per second, and seconds of a frozen database: longer than the store waits for an operation.
RATE, FROZEN = 50, 10
HOUR, DAY = 3600, 86_400
#: Few requests are slow or fail, so that the load goes on.
WEIGHTS = {"slow": 0.3, "parked": 0.3, "flaky": 0.3}


class FaultTests(KeepingTestCase):
    """Load of all ways, a fault, and the ledger."""

    async def load(self, rate: float = RATE) -> None:
        """Start the load; returns when some requests were answered in each way."""
        self.callers = self.kept_callers(weights=WEIGHTS)
        self.running = self.callers.call(rate)
        self.addCleanup(self.callers.stop)
        await self.more("202", 20)

    async def more(self, status: str, count: int, seconds: float = 30) -> None:
        """Wait until so many more requests get this status."""
        wanted = self.callers.statuses[status] + count

        async def found() -> bool:
            return self.callers.statuses[status] >= wanted

        try:
            await self.look_until(f"{count} more {status}", found, seconds)
        except self.failureException as error:
            self.fail(f"{error}\n{dict(self.callers.statuses)}")

    async def balances(self, duplicates_at_most: int = 0) -> None:
        """Let the load go on for a while, end it, and check the ledger."""
        await self.more("202", 20)
        self.callers.stop()
        await self.running
        await self.kept_balances(self.callers, duplicates_at_most=duplicates_at_most)

    async def while_away(self) -> None:
        """Wait until requests are refused since the store is away; plain ones go on."""
        await self.more("503 store-unavailable", 5)
        await self.more("200", 5)

    async def result(self, port: int, id_: str, wait: int = 0) -> Reply:
        """Ask for a result."""
        headers = {"Prefer": f"wait={wait}"} if wait else {}
        return await self.lean.ask(port, "GET", f"/v1/requests/{id_}/result", headers)


class PostgreSQLFaultTests(FaultTests):
    """Two gateways on one PostgreSQL."""

    async def setUp(self) -> None:
        await super().setUp()
        self.server = await deferToThread(running_postgresql)
        self.addCleanup(deferToThread, running_postgresql)
        self.store = await deferToThread(PostgreSQLStore, self.server)

    async def begin(self) -> None:
        await gatherResults([Deferred.fromCoroutine(self.serve_ready()) for _ in range(2)])
        await self.load()

    async def test_36_killed(self) -> None:
        """PostgreSQL killed under load: 503 for what needs it, plain requests go on; it comes back, nothing is lost."""
        await self.begin()
        await deferToThread(self.server.kill)
        await self.while_away()
        await deferToThread(self.server.start)
        await self.balances()

    async def test_36_frozen(self) -> None:
        """PostgreSQL frozen for longer than an operation may take: 503, plain requests go on; nothing is lost."""
        await self.begin()
        self.server.suspend()
        await gatherResults([pause(FROZEN), Deferred.fromCoroutine(self.while_away())])
        self.server.resume()
        await self.balances()

    async def test_36_stop_while_frozen(self) -> None:
        """A gateway that is told to stop while PostgreSQL is frozen ends, though a thread waits for the server."""
        gateway = await self.serve_ready(DRAIN_TIMEOUT="1")
        self.server.suspend()
        self.addCleanup(self.server.resume)
        headers = {"routing-key": "predict.now", "Prefer": "respond-async", "Content-Type": "application/json"}
        asking = self.lean.ask(self.ports[0], "POST", "/v1/predict", headers, b"[1]")
        asked = Deferred.fromCoroutine(asking).addErrback(lambda _: None)  # whatever comes of it

        async def is_served() -> bool:
            return await self.metric(gateway, "http_in_flight") == 1

        await self.look_until("the request is served", is_served)
        gateway.signal("TERM")
        self.assertEqual(await gateway.when_ended().addTimeout(20, reactor), 0)
        await asked

    async def test_36_no_connections(self) -> None:
        """No connection can be made any more, and the open ones are ended: as if it were away, until there is room."""
        await self.begin()
        self.addCleanup(deferToThread, self.server.sql, "ALTER ROLE gateway CONNECTION LIMIT -1")
        end = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{self.store.name}'"
        await deferToThread(self.server.sql, "ALTER ROLE gateway CONNECTION LIMIT 0", end)
        await self.while_away()
        await deferToThread(self.server.sql, "ALTER ROLE gateway CONNECTION LIMIT -1")
        await self.balances()

    async def test_36_failed_over(self) -> None:
        """The primary is killed, its synchronous standby promoted: all that was committed is there; nothing is lost."""
        primary = PostgreSQL(certificates())
        standby = PostgreSQL(certificates(), primary=primary)
        self.addCleanup(deferToThread, primary.remove)
        self.addCleanup(deferToThread, standby.remove)

        def start() -> None:
            primary.start()
            self.store = PostgreSQLStore(primary)
            standby.start()
            primary.sql("ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()")

        def fail_over() -> None:
            primary.kill()
            standby.promote()

        await deferToThread(start)
        self.store.url = self.store.at(primary.port, standby.port, target_session_attrs="read-write")
        await self.begin()
        await deferToThread(fail_over)
        self.store.server = standby
        await self.balances()

    async def test_38_two_replicas(self) -> None:
        """One of two gateways on one PostgreSQL is killed under load: the other one has all answers."""
        first = await self.serve_ready()
        await self.serve_ready()
        await self.load()
        first.signal("KILL")
        await first.when_ended()
        self.ports.pop(0)
        await self.balances(duplicates_at_most=20)


class SQLiteFaultTests(FaultTests):
    """Gateways on SQLite."""

    async def setUp(self) -> None:
        await super().setUp()
        self.store = SQLiteStore(self.folder)

    async def test_37_disk_full(self) -> None:
        """The disk is full under load: 503 for what needs the store, plain requests go on; then there is room again."""
        writes = StoreWrites(self.folder)
        await self.serve_ready(**writes.environment)
        await self.load()
        writes.set(Fault.FULL)
        await self.while_away()
        writes.set(Fault.NONE)
        await self.balances()

    async def test_38_workers(self) -> None:
        """One of two workers on one file is killed under load: the others have all answers."""
        gateway = self.serve(WORKERS="2", HTTP_PORT=str(free_ports(1)[0]))
        await gateway.ready()
        self.ports.append(await gateway.port("https"))
        await self.load()
        os.kill(children(gateway)[0], signal.SIGKILL)
        await gateway.logged("it is started again")
        await self.balances(duplicates_at_most=20)

    async def test_39_broker_killed(self) -> None:
        """The broker is killed under load, while answers are waited for: they come, and nothing is lost."""
        await self.serve_ready()
        await self.load()
        entry = await self.callers.send(Way("respond-async"), "slow")
        waiting = self.result(self.ports[0], *entry.ids, wait=30)
        long_poll = Deferred.fromCoroutine(waiting)
        await deferToThread(self.node.kill)
        await deferToThread(self.node.start)
        reply = await long_poll
        self.assertIn(reply.status, (200, 202))
        await self.balances(duplicates_at_most=20)

    async def test_40_clock_steps(self) -> None:
        """The wall clock is set an hour forward and back under load: no answer is lost, none expires early."""
        wall = SteppedClock(self.folder)
        wall.step(DAY)
        await self.serve_ready(**wall.environment)
        await self.load()
        for seconds in (HOUR, -HOUR, -HOUR, HOUR):
            wall.step(seconds)
            await self.more("202", 10)
        await self.balances()
        found = await self.rows("SELECT count(*) FROM requests WHERE status = 'pending'")
        self.assertEqual(found, [(0,)])


def children(gateway: Gateway) -> list[int]:
    """The worker processes of a supervisor."""
    transport: Any = gateway.transport
    with open(f"/proc/{transport.pid}/task/{transport.pid}/children", encoding="ascii") as file:
        return [int(each) for each in file.read().split()]
