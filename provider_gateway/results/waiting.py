"""Who waits for which request, until it is final, wherever its answer is stored. Nothing polls.

The order is: bind the queue for notices with the id, read the record, wait. What was stored before the read is read,
and of what is stored after it there is a notice.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.logger import Logger

from provider_gateway.deferreds import InFlight, Waiters

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IReactorTime

    from provider_gateway.amqp.notice_queue import NoticeQueue
    from provider_gateway.store.records import Record, ResultStore


@dataclass(slots=True, eq=False)
class _Awaited:
    """A request that somebody waits for.

    Attributes:
        waiting: how many wait.
        is_bound: True once notices of it arrive.
        told: how often there was a reason to read the record.
        final: the record, if this process has stored its answer.
    """

    waiting: int = 0
    is_bound: bool = False
    told: int = 0
    final: Record | None = None
    news: Waiters[None] = field(default_factory=Waiters)

    def tell(self) -> None:
        self.told += 1
        self.news.fire(None)


class Waiting:
    """Those who wait for requests.

    Args:
        make_queue: makes the queue for notices, from what is to be called with the id in a notice, and what when a new
            queue is bound by all ids.
        clock: times the waits.

    Attributes:
        notices: brings the ids of what is final.
    """

    _log = Logger()

    def __init__(
        self,
        store: ResultStore,
        make_queue: Callable[[Callable[[str], object], Callable[[], object]], NoticeQueue],
        clock: IReactorTime,
    ) -> None:
        self._store = store
        self._clock = clock
        self._awaited: dict[str, _Awaited] = {}
        self._draining = self._stopping = False
        self._binding = InFlight(lambda f: self._log.failure("The queue for notices cannot be bound", f))
        self.notices = make_queue(self.told, self._bound)

    async def wait(
        self,
        id_: str,
        seconds: float,
        *,
        ends_at_drain: bool,
        until: Callable[[Record], bool] = lambda record: record.status.is_final,
    ) -> Record | None:
        """Wait until a record is final, see :meth:`.Results.wait`; or until something else is true of it."""
        awaited = self._awaited.get(id_)
        if awaited is None:
            awaited = self._awaited[id_] = _Awaited()
            self._binding.start(self._bind(id_, awaited))
        awaited.waiting += 1
        end = self._clock.seconds() + seconds
        try:
            while awaited.final is None:
                left = 0.0 if self._is_over(ends_at_drain=ends_at_drain) else end - self._clock.seconds()
                if awaited.is_bound or left <= 0:
                    told = awaited.told
                    record = await self._store.get(id_)
                    if record is None or until(record) or left <= 0:
                        return record
                    if told != awaited.told:
                        continue  # something happened while the record was read
                await self._news(awaited, left)
            return awaited.final
        finally:
            awaited.waiting -= 1
            if not awaited.waiting:
                del self._awaited[id_]
                self.notices.unbind(id_)

    async def _bind(self, id_: str, awaited: _Awaited) -> None:
        if await self.notices.bind(id_):
            awaited.is_bound = True
            awaited.tell()

    def _bound(self) -> None:
        """A new queue is bound by all ids: it is time to read their records."""
        for each in list(self._awaited.values()):
            each.is_bound = True
            each.tell()

    def told(self, id_: str) -> None:
        """Read a record: another process may have stored how its request ended."""
        awaited = self._awaited.get(id_)
        if awaited is not None:
            awaited.tell()

    def finished(self, record: Record) -> None:
        """Tell those who wait for a record that this process has made final."""
        awaited = self._awaited.get(record.id)
        if awaited is not None:
            awaited.final = record
            awaited.tell()

    def drain(self) -> None:
        """End the waits that end at a drain."""
        self._draining = True
        self._tell_all()

    def abandon(self) -> None:
        """End all waits."""
        self._draining = self._stopping = True
        self._tell_all()

    def _tell_all(self) -> None:
        for each in list(self._awaited.values()):
            each.tell()

    def _is_over(self, *, ends_at_drain: bool) -> bool:
        return self._stopping or (self._draining and ends_at_drain)

    async def _news(self, awaited: _Awaited, seconds: float) -> None:
        with suppress(DeferredTimeoutError):
            await awaited.news.wait().addTimeout(seconds, self._clock)
