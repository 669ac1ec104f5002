"""The note at a parking queue: a message in a queue of its own that says who is at it, and what its last job was.

Whoever holds the parking queue writes the note while the work goes on. Others read it, in whatever process they are. To
cancel a job, they delete the queue: the next note of the holder comes back as unrouted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import msgspec
from pika.exceptions import AMQPError, ChannelClosedByBroker
from twisted.logger import Logger

from provider_gateway.amqp.declare import attempt, declaring
from provider_gateway.amqp.session import ConnectionLost
from provider_gateway.config.short_strings import SHORT_STRING_BYTES
from provider_gateway.deferreds import shield
from provider_gateway.errors import TopologyError
from provider_gateway.message.message import Message
from provider_gateway.parking.jobs import JobDocument  # noqa: TC001 - msgspec reads the annotations of Noted
from provider_gateway.topology.declarations import Queue

if TYPE_CHECKING:
    from collections.abc import Callable

    from provider_gateway.amqp.message_channel import MessageChannel
    from provider_gateway.amqp.session import Session
    from provider_gateway.clocks import WallClock

_log = Logger()
#: Milliseconds for which a note stays when nobody uses it.
_EXPIRES = 7 * 24 * 3600 * 1000
#: Seconds between two notes of a holder, and seconds after which a holder that should have renewed it is gone.
RENEWED, GONE = 1.0, 10.0


@dataclass(frozen=True, slots=True)
class Noted:
    """What a note says.

    Attributes:
        holder: who is at the parking queue, or was last.
        job: its last job, which need not be by the holder.
    """

    holder: JobDocument
    job: JobDocument | None = None

    def is_at_work(self, now: float) -> bool:
        """True if the holder was at work a moment ago."""
        return not self.holder.is_over and now - self.holder.updated < GONE


def note_queue(parking: str) -> Queue:
    """The queue of the notes at a parking queue."""
    # Classic, in whatever cluster: a note that is lost with a node is no loss.
    arguments = {"x-queue-type": "classic", "x-max-length": 1, "x-expires": _EXPIRES}
    return Queue(f"{parking}.operator", arguments)


def who(document: JobDocument, now: float) -> str:
    """Who is at a parking queue, in words."""
    what = {"look": "is looking into it", "export": "exports it"}.get(document.action, f"has a {document.action} on it")
    seconds = max(0, round(now - document.created))
    return f"{document.operator} (from {document.host}, process {document.process}) {what}, for {seconds} s"


async def read_note(session: Session, parking: str) -> Noted | None:
    """The note at a parking queue; None if there is none, or none that can be read."""
    channel = await session.channel()
    try:
        got = await shield(channel.basic_get(note_queue(parking).name))
    except ChannelClosedByBroker:
        return None  # there is no such queue, or it may not be read
    body = None if got is None else got.body
    if got is not None:
        channel.basic_reject(got.method.delivery_tag)
    channel.close()
    try:
        return None if body is None else msgspec.json.decode(body, type=Noted)
    except msgspec.MsgspecError:
        return None


async def remove_note(session: Session, parking: str) -> None:
    """Delete the queue of notes, so that the holder cancels itself.

    Raises:
        TopologyError: the broker refuses it.
    """
    channel = await session.channel()
    queue = note_queue(parking)
    await attempt(queue, lambda: channel.queue_delete(queue.name))
    channel.close()


class Note:
    """The note, as its holder writes it. What goes wrong with it does not concern the work.

    Args:
        session: the holder's.
        parking: the parking queue's name.
        on_cancel: called when somebody wants the holder to stop.
    """

    def __init__(
        self, session: Session, parking: str, *, on_cancel: Callable[[], object], wall_clock: WallClock
    ) -> None:
        self._session = session
        self._queue = note_queue(parking)
        self._on_cancel = on_cancel
        self._wall_clock = wall_clock
        self._channel: MessageChannel | None = None
        self._job: JobDocument | None = None
        self._is_useless = len(self._queue.name.encode()) > SHORT_STRING_BYTES

    @property
    def is_written(self) -> bool:
        """True if there is a note of this holder."""
        return self._channel is not None

    async def write(self, document: JobDocument) -> None:
        """Write what the holder does, and how far it is."""
        if self._is_useless or not self._session.is_open:
            return
        try:
            if self._channel is None:
                earlier = await read_note(self._session, self._queue.name.removesuffix(".operator"))
                self._job = None if earlier is None else earlier.job
                await self._open()
            assert self._channel is not None
            document = replace(document, updated=self._wall_clock())
            is_job = document.action in ("replay", "drop")
            message = Message(msgspec.json.encode(Noted(document, document if is_job else self._job)))
            self._channel.publish("", self._queue.name, message.properties(), message.body)
        except (TopologyError, AMQPError, ConnectionLost) as error:
            self._is_useless = True
            _log.warn(
                "Nobody can be told who is at {parking}, and nobody else can cancel it: {reason}",
                parking=self._queue.name.removesuffix(".operator"),
                reason=str(error),
            )

    async def _open(self) -> None:
        declaring_channel = await self._session.channel()
        await attempt(self._queue, declaring(declaring_channel, self._queue))
        declaring_channel.close()
        self._channel = await self._session.message_channel()
        self._channel.on_return = lambda _: self._on_cancel()
