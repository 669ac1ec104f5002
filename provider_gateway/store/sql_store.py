"""The result store on a database: one connection commits groups of operations, others read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred, TimeoutError as DeferredTimeoutError, succeed
from twisted.logger import Logger

from provider_gateway.deadlines import TimeLimit
from provider_gateway.deferreds import shield
from provider_gateway.errors import StoreUnavailable
from provider_gateway.store.connections import Connections
from provider_gateway.store.engine import Verdict
from provider_gateway.store.figures import ShownFigures
from provider_gateway.store.group_commit import GroupCommit
from provider_gateway.store.operations import Accept, Add, Discard, Erase, ExpireAt, Finish, Purge, TakeOver, execute
from provider_gateway.store.records import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from provider_gateway.clocks import WallClock
    from provider_gateway.observability.metrics import Metrics
    from provider_gateway.store.engine import Engine
    from provider_gateway.store.operations import Operation
    from provider_gateway.store.records import Figures, Finished, Outcome, Record, Result
    from provider_gateway.store.transaction import Transaction

T = TypeVar("T")
#: What a stored result says of its request.
_STORED = (Status.SUCCEEDED, Status.FAILED, Status.PARKED, Status.EXPIRED)
#: Seconds that a read may take.
_READ_TIMEOUT = 5.0


class SQLStore:
    """A :class:`.ResultStore`. Call :meth:`open` before anything else, in the process that uses it.

    Args:
        reactor: with threads.
        ttl: seconds that a final record is kept, and as many as a tombstone.

    Attributes:
        is_up: False while the store is away.
        on_change: called after ``is_up`` has changed.
    """

    def __init__(self, reactor: Any, engine: Engine, *, ttl: float, wall_clock: WallClock, metrics: Metrics) -> None:
        self.on_change: Callable[[], object] = lambda: None
        self._engine = engine
        self._ttl = ttl
        self._metrics = metrics
        self._log = Logger(namespace="provider_gateway.store")
        self._reactor = reactor
        self._is_open = False
        self._figures = ShownFigures(self, engine.name, clock=reactor, wall_clock=wall_clock, metrics=metrics)
        self._read_limit = TimeLimit(reactor, _READ_TIMEOUT)
        self._writer = GroupCommit(
            reactor,
            run=self._transaction,
            interrupt=self._interrupt_writing,
            judge=engine.judge,
            changed=self._changed,
            metrics=metrics,
        )
        metrics.result_store_up.labels(engine.name).set(0)
        for status in _STORED:
            # Create the series at 0: Prometheus' increase() ignores a series that starts at 1.
            metrics.results_stored.labels(status.value)

    @property
    def is_up(self) -> bool:
        """False while the store is away."""
        return self._writer.is_up

    def open(self) -> Deferred[None]:
        """See :meth:`.ResultStore.open`. The schema is migrated if need be."""
        # Not earlier: threads and connections do not survive the fork into the background.
        self._writing = Connections(self._reactor, self._engine, 1, self._prepare_writing)
        self._reading = Connections(self._reactor, self._engine, self._engine.readers, self._engine.prepare)
        self._is_open = True
        self._figures.start()
        return self._writer.probe()

    # Changes.

    def add(self, record: Record) -> Deferred[Record | None]:
        """See :meth:`.ResultStore.add`."""
        return self._writer.submit(Add(record))

    def accept(self, id_: str) -> Deferred[None]:
        """See :meth:`.ResultStore.accept`."""
        return self._writer.submit(Accept(id_))

    def take_over(self, id_: str, seen: float, accept_by: float) -> Deferred[bool]:
        """See :meth:`.ResultStore.take_over`."""
        return self._writer.submit(TakeOver(id_, seen, accept_by))

    def expire_at(self, id_: str, expires: float) -> Deferred[None]:
        """See :meth:`.ResultStore.expire_at`."""
        return self._writer.submit(ExpireAt(id_, expires))

    def discard(self, id_: str) -> Deferred[None]:
        """See :meth:`.ResultStore.discard`."""
        return self._writer.submit(Discard(id_))

    def finish(self, outcome: Outcome) -> Deferred[Finished]:
        """See :meth:`.ResultStore.finish`."""
        return self._writer.submit(Finish(outcome)).addCallback(self._count)

    def erase(self, id_: str, owner: str | None, now: float) -> Deferred[Record | None]:
        """See :meth:`.ResultStore.erase`."""
        return self._writer.submit(Erase(id_, owner, now))

    def purge(self, now: float, limit: int) -> Deferred[int]:
        """See :meth:`.ResultStore.purge`."""
        return self._writer.submit(Purge(now, self._ttl, limit, self._reactor.seconds)).addCallback(self._count_purged)

    # Reads.

    def get(self, id_: str) -> Deferred[Record | None]:
        """See :meth:`.ResultStore.get`."""
        return self._read(lambda transaction: next(iter(transaction.records([id_])), None))

    def result(self, id_: str) -> Deferred[Result | None]:
        """See :meth:`.ResultStore.result`."""
        return self._read(lambda transaction: transaction.result(id_))

    def list(
        self, owner: str, *, now: float, status: Status | None, limit: int, after: Record | None
    ) -> Deferred[Sequence[Record]]:
        """See :meth:`.ResultStore.list`."""
        return self._read(lambda transaction: transaction.newest(owner, now, status, limit, after))

    def overdue(self, now: float, limit: int) -> Deferred[Sequence[Record]]:
        """See :meth:`.ResultStore.overdue`."""
        return self._read(lambda transaction: transaction.overdue(now, limit))

    def figures(self) -> Deferred[Figures]:
        """See :meth:`.ResultStore.figures`."""
        return self._read(lambda transaction: transaction.figures())

    def close(self, seconds: float) -> Deferred[None]:
        """See :meth:`.ResultStore.close`."""
        if not self._is_open:
            return succeed(None)
        self._is_open = False
        self._figures.stop()
        # Also if whoever waits gives up: the end of the process joins the threads, and one may be stuck.
        return self._writer.close(seconds).addBoth(self._end)

    # In threads.

    def _prepare_writing(self, connection: Any) -> None:
        self._engine.prepare(connection)
        self._engine.migrate(connection)

    def _transaction(self, operations: Sequence[Operation]) -> Deferred[Sequence[Any]]:
        def work(connection: Any) -> Sequence[Any]:
            with self._engine.writing(connection) as transaction:
                return execute(transaction, operations, self._ttl)

        return self._writing.run(work)

    # In the reactor's thread.

    def _read(self, read: Callable[[Transaction], T]) -> Deferred[T]:
        return Deferred.fromCoroutine(self._read_in_time(read))

    async def _read_in_time(self, read: Callable[[Transaction], T], *, is_repeated: bool = False) -> T:
        def work(connection: Any) -> T:
            with self._engine.reading(connection) as transaction:
                return read(transaction)

        if not self._is_open or not self.is_up:
            msg = "The result store is away."
            raise StoreUnavailable(msg)
        try:
            return await self._read_limit.on(shield(self._reading.run(work)))
        except DeferredTimeoutError:
            self._reading.interrupt()
            error: Exception = StoreUnavailable("The result store is too slow.")
        except CancelledError:
            raise
        except Exception as failed:  # noqa: BLE001 - the engine says what it means
            if not is_repeated and self._engine.judge(failed) is Verdict.AWAY:
                # The connection may have been lost long ago. It was dropped, and another one is made.
                return await self._read_in_time(read, is_repeated=True)
            self._log.warn("The result store could not be read: {reason}", reason=self._engine.explain(failed))
            error = StoreUnavailable("The result store could not be read.")
        self._writer.probe()
        raise error

    def _interrupt_writing(self) -> None:
        self._writing.interrupt()

    def _count(self, finished: Finished) -> Finished:
        if finished.is_new and finished.record is not None:
            self._metrics.results_stored.labels(finished.record.status.value).inc()
        return finished

    def _count_purged(self, rows: int) -> int:
        self._metrics.results_purged.inc(rows)
        return rows

    def _changed(self, error: Exception | None) -> None:
        self._metrics.result_store_up.labels(self._engine.name).set(int(error is None))
        if error is None:
            self._figures.count()
            self._log.info("The result store is there")
        else:
            self._log.warn("The result store is away: {reason}", reason=self._engine.explain(error))
        self.on_change()

    def _end(self, outcome: T) -> T:
        for pool in (self._reading, self._writing):
            pool.interrupt()
            pool.close()
        return outcome
