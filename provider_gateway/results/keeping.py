"""Records of requests that were published without one: they are made before their callers get 504."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from provider_gateway.deferreds import InFlight, Waiters, shield
from provider_gateway.errors import GatewayError, StoreUnavailable

if TYPE_CHECKING:
    from provider_gateway.message.message import Message
    from provider_gateway.results.submissions import Submissions
    from provider_gateway.results.unconfirmed import Unconfirmed
    from provider_gateway.store.records import Record, ResultStore


class Keeping:
    """Makes these records, and has their messages published again if the broker may have lost them.

    Args:
        unconfirmed: the records whose messages are not confirmed.
    """

    _log = Logger()

    def __init__(self, store: ResultStore, submissions: Submissions, unconfirmed: Unconfirmed) -> None:
        self._store = store
        self._submissions = submissions
        self._unconfirmed = unconfirmed
        self._committing: dict[str, Waiters[None]] = {}
        self._working = InFlight(lambda f: self._log.failure("A request cannot be published again", f))

    def keep(self, record: Record, *, is_confirmed: bool) -> Deferred[bool]:
        """Record a request before its caller gets 504.

        It is to be called in the turn in which the call ended, so that a late reply finds the record.

        Args:
            is_confirmed: True if the broker has its message. If not, :meth:`published` or :meth:`publish_again` is to
                be called once more is known.

        Returns:
            A Deferred that fires with True once the record is committed, and with False if the store is away. It does
            not fail.
        """
        self._committing[record.id] = Waiters()
        if not is_confirmed:
            record = self._unconfirmed.new(record)
        return shield(Deferred.fromCoroutine(self._keep(record)))

    async def _keep(self, record: Record) -> bool:
        try:
            await self._store.add(record)
        except StoreUnavailable:
            return False
        finally:
            self._committing.pop(record.id).fire(None)
        return True

    def committed(self, id_: str) -> Deferred[None] | None:
        """A Deferred that fires when the record that is being made for a request is committed, or cannot be.

        Returns:
            None if no record is being made.
        """
        committing = self._committing.get(id_)
        return committing.wait() if committing is not None else None

    def published(self, id_: str, error: GatewayError | None) -> None:
        """Note the outcome of a publish, after :meth:`keep` was told that it is not confirmed.

        Args:
            error: why the broker does not have the message; None if it has.
        """
        self._working.start(self._unconfirmed.confirm(id_) if error is None else self._fail(id_, error))

    def idle(self) -> Deferred[None]:
        """A Deferred that fires when nothing is published again, and the store knows how that ended."""
        return self._working.empty()

    async def _fail(self, id_: str, error: GatewayError) -> None:
        record = await self._pending(id_)
        if record is not None:
            await self._submissions.fail(record, error)

    def publish_again(self, message: Message, exchange: str, routing_key: str) -> None:  # noqa: ARG002 - in the record
        """Publish again what the broker may not have. To be called after :meth:`keep`, in the same turn."""
        self._working.start(self._publish_again(message, exchange))

    async def _publish_again(self, message: Message, exchange: str) -> None:
        record = await self._pending(message.correlation_id or "")
        if record is None:
            return
        try:
            await self._submissions.until_confirmed(message, exchange, record, is_first=False)
        except GatewayError as error:
            await self._submissions.fail(record, error)
        else:
            await self._unconfirmed.confirm(record.id)

    async def _pending(self, id_: str) -> Record | None:
        """The pending record of a request; None if nobody was promised an answer, or it is there."""
        committing = self.committed(id_)
        if committing is not None:
            await committing
        try:
            record = await self._store.get(id_)
        except StoreUnavailable:
            record = None
        if record is None or record.status.is_final:
            self._unconfirmed.forget(id_)
            return None
        return record
