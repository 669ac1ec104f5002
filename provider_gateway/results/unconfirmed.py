"""Records whose callers were told to come back while nobody knew whether the broker has their messages.

This process publishes such a message until the broker has confirmed it. If the process dies before, the message may be
lost for ever. So these records expire soon, unless this process says again and again that it still tries.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from twisted.logger import Logger

from provider_gateway.deferreds import InFlight
from provider_gateway.errors import StoreUnavailable

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime

    from provider_gateway.clocks import WallClock
    from provider_gateway.store.records import Record, ResultStore

#: Seconds after which a record expires whose process has not said for so long that it still tries.
EXPIRES_AFTER = 600.0
#: Seconds between two times of saying so.
_EVERY = 150.0


@dataclass(slots=True)
class _Unconfirmed:
    """One record.

    Attributes:
        expires: when it expires if its message is confirmed, in seconds since 1970.
        is_confirmed: True if its message is, and only the store does not know.
    """

    expires: float
    is_confirmed: bool = False


class Unconfirmed:
    """The records of this process whose messages are not confirmed.

    Args:
        clock: times the pauses.
        wall_clock: records expire by it.
    """

    _log = Logger()

    def __init__(self, store: ResultStore, clock: IReactorTime, wall_clock: WallClock) -> None:
        self._store = store
        self._clock = clock
        self._wall_clock = wall_clock
        self._records: dict[str, _Unconfirmed] = {}
        self._due: IDelayedCall | None = None
        self._saying = InFlight(lambda f: self._log.failure("Requests that are published again may expire early", f))

    def new(self, record: Record) -> Record:
        """Take in a record that is not in the store yet; returns it as it is to be stored."""
        self._records[record.id] = _Unconfirmed(record.expires)
        self._begin()
        return replace(record, expires=min(record.expires, self._wall_clock() + EXPIRES_AFTER))

    async def add(self, record: Record) -> bool:
        """Take in a record. Returns False if the store is away: tell nobody to come back for its answer."""
        soon = self.new(record)
        try:
            await self._store.expire_at(soon.id, soon.expires)
        except StoreUnavailable:
            return False
        return True

    async def confirm(self, id_: str) -> None:
        """Let the record of a message that is confirmed live as long as others do. Other ids are ignored."""
        if id_ in self._records:
            self._records[id_].is_confirmed = True
            await self._tell(id_)

    def forget(self, id_: str) -> None:
        """Forget a record that is final or gone."""
        self._records.pop(id_, None)
        if not self._records and self._due is not None:
            self._due.cancel()
            self._due = None

    def _begin(self) -> None:
        if self._records and self._due is None:
            self._due = self._clock.callLater(_EVERY, self._say)

    async def _tell(self, id_: str) -> None:
        record = self._records.get(id_)
        if record is None:
            return
        expires = record.expires
        if not record.is_confirmed:
            expires = min(expires, self._wall_clock() + EXPIRES_AFTER)
        was_confirmed = record.is_confirmed
        try:
            await self._store.expire_at(id_, expires)
        except StoreUnavailable:
            return  # the next time tells it
        if was_confirmed:
            self.forget(id_)

    def _say(self) -> None:
        self._due = None
        self._begin()
        for id_ in list(self._records):  # all at once: then they share a commit
            self._saying.start(self._tell(id_))
