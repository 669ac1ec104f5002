"""Compares the broker's objects with the queue file and tries the user's permissions, for ``--check --connect``.

Nothing that exists is changed, and nothing stays. What exists is declared again, which changes nothing or is refused.
The other attempts have a wrong argument. RabbitMQ looks at permissions and limits first, and at arguments then: its
refusal of the argument means that the rest was right. Whether a broker takes the true arguments of a queue that is not
there yet is tried with a queue of another name, which is deleted at once. Whether a limit leaves room for all that are
missing is tried with exclusive queues.
"""

from __future__ import annotations

import secrets
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from provider_gateway.amqp.attempted_uses import consuming, notice_queue_use, parking_uses, result_uses, uses
from provider_gateway.amqp.declare import attempt, declaring, found_without
from provider_gateway.amqp.expected_refusals import expect_refusal, is_missing, try_use
from provider_gateway.config.short_strings import SHORT_STRING_BYTES
from provider_gateway.errors import TopologyError
from provider_gateway.topology.declarations import Binding, Exchange, Queue, objects_of
from provider_gateway.topology.refusals import Use
from provider_gateway.topology.reply_addresses import reply_prefix, reply_queue_name, results_name
from provider_gateway.topology.result_objects import (
    canceled_exchange,
    done_exchange,
    notice_queue_name,
    reply_queue,
    result_objects,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pika.adapters.twisted_connection import TwistedChannel
    from twisted.internet.defer import Deferred

    from provider_gateway.amqp.attempted_uses import Method
    from provider_gateway.amqp.session import Session
    from provider_gateway.config.queue_file import QueueEntry
    from provider_gateway.config.settings import Role, Settings
    from provider_gateway.topology.declarations import Declared

#: Milliseconds after which the broker deletes a queue that was made to try its arguments, should we be cut off.
_TRIAL_EXPIRES = 60_000
#: The most bytes of a name that a name of ours is made of.
_NAME_BYTES = 200
_CLASSIC = {"x-queue-type": "classic"}
#: Nobody has a binding with this argument, so to remove it changes nothing.
_NO_BINDING = {"x-provider-gateway-check": True}


class Finding(NamedTuple):
    """One line of the result."""

    text: str
    is_wrong: bool = False


class TopologyCheck:
    """Looks at the objects of a queue file on one session.

    Args:
        session: is used for this alone: a broker may close it.
        report: called with each finding.
    """

    def __init__(self, session: Session, report: Callable[[Finding], None]) -> None:
        self._session = session
        self._report = report
        self._reply_queue = ""
        #: Queues that could be declared.
        self._missing: list[Queue] = []
        #: By text of an object or use: whether it is right.
        self._seen: dict[str, bool] = {}

    async def run(self, entries: Sequence[QueueEntry], roles: Sequence[Role], settings: Settings) -> None:
        """Look at everything that a process with these roles declares and uses.

        Args:
            settings: of the process; they name its reply queue.

        Raises:
            ConnectionLost: the connection was lost, but not over a declaration.
        """
        self._reply_queue = reply_queue_name(entries, settings.instance)
        for entry in entries:
            is_right = True
            for each in objects_of(entry):
                is_right = await self._found_right(each) and is_right
            if is_right:
                self._report(Finding(f"queue {entry.queue_name!r} and its bindings are as the queue file says"))
        has_store = settings.result_store is not None and "gateway" in roles
        if has_store:
            for each in result_objects(entries):
                await self._found_right(each)
        if "gateway" in roles:
            results = results_name(entries) if has_store else None
            expires = settings.reply_queue_expires
            await self._found_right(reply_queue(self._reply_queue, entries, expires=expires, results=results))
        for what, method in uses(entries, roles, self._reply_queue):
            await self._found_right(what, method)
        if has_store:
            for what, method in result_uses(entries):
                await self._found_right(what, method)
            await self._try_notices(done_exchange(entries), entries, settings)
        if "provider" in roles and settings.follows_cancellations:
            await self._found_right(canceled_exchange(entries))
            await self._try_notices(canceled_exchange(entries), entries, settings)
        await self._try_parking(entries, webhooks=has_store and settings.http_access is not None)
        if self._session.is_open:
            await self._try_room()

    async def _try_notices(self, exchange: Exchange, entries: Sequence[QueueEntry], settings: Settings) -> None:
        """Find out if a queue for the notices of an exchange could be declared, bound and consumed."""
        what = exchange.name.removeprefix(f"{reply_prefix(entries)}.")
        name = f"{notice_queue_name(entries, settings.instance, what)}.{secrets.token_hex(4)}"
        declared = await self._found_right(*notice_queue_use(name))
        if declared:
            await self._found_right(Binding(name, exchange.name))
            await self._found_right(*consuming(name))

    async def _try_parking(self, entries: Sequence[QueueEntry], *, webhooks: bool) -> None:
        """Find out if parked messages could be looked at. The process can do without: nothing of it is wrong."""
        for queue, needed, note in parking_uses(entries, webhooks=webhooks):
            try:
                for what, method in needed:
                    if str(what) not in self._seen and self._session.is_open:
                        await try_use(self._session, what, method)
            except TopologyError as error:
                self._report(Finding(f"parked messages of {queue!r} cannot be looked at and sent again: {error}"))
                continue
            try:
                fits = len(note.name.encode()) <= SHORT_STRING_BYTES
                if fits and self._session.is_open and not await self._exists(note):
                    await expect_refusal(self._session, note, partial(_declare_wrongly, note))
            except TopologyError as error:
                self._report(Finding(f"nobody is told who looks at parked messages of {queue!r}: {error}"))

    async def _found_right(self, what: Declared | Use, method: Method | None = None) -> bool:
        """Look at an object, or try a use of one; report what is wrong, once.

        Args:
            method: tries the use.

        Returns:
            True if the object is there and right.
        """
        if str(what) in self._seen and not isinstance(what, Binding):
            return self._seen[str(what)]
        if not self._session.is_open:
            return False
        is_right = False
        try:
            if isinstance(what, Use):
                assert method is not None
                await try_use(self._session, what, method)
                is_right = True
            else:
                is_right = await self._compare(what)
        except TopologyError as error:
            self._report(Finding(f"FAILED: {error}", is_wrong=True))
            if not self._session.is_open:
                self._report(Finding("the broker closed the connection: nothing else was looked at", is_wrong=True))
        self._seen[str(what)] = is_right
        return is_right

    async def _compare(self, what: Declared) -> bool:
        """Compare an object with the broker's.

        Returns:
            False if it is not there yet.

        Raises:
            TopologyError: it is there and differs, or could not be declared.
        """
        if isinstance(what, Binding):
            await expect_refusal(self._session, what, lambda channel: _unbind(channel, what))
            return True
        if await self._exists(what):
            channel = await self._session.channel()
            try:
                await attempt(what, declaring(channel, what))
            except TopologyError as error:
                if (text := await found_without(self._session, what, error)) is None:
                    raise
                self._report(Finding(text))
                return True
            channel.close()
            return True
        await self._try(what)
        if what.name != self._reply_queue:  # each process has one of its own
            self._report(Finding(f"{what} is not there yet and will be declared at start"))
        return False

    async def _exists(self, what: Exchange | Queue) -> bool:
        channel = await self._session.channel()
        passive = channel.exchange_declare if isinstance(what, Exchange) else channel.queue_declare
        try:
            await attempt(what, partial(passive, what.name, passive=True))
        except TopologyError as error:
            if is_missing(error):
                return False
            raise
        channel.close()
        return True

    async def _try(self, what: Exchange | Queue) -> None:
        """Find out if an object could be declared that is not there.

        Raises:
            TopologyError: it could not.
        """
        if isinstance(what, Exchange):
            wrong = {"alternate-exchange": 0}
            await expect_refusal(
                self._session, what, lambda channel: channel.exchange_declare(what.name, what.type, arguments=wrong)
            )
            return
        await expect_refusal(self._session, what, partial(_declare_wrongly, what))
        await self._try_arguments(what)
        self._missing.append(what)

    async def _try_room(self) -> None:
        """Find out if a limit leaves room for all missing queues. Exclusive queues end with the connection."""
        for what in self._missing:
            name, channel = _trial_name(what), await self._session.channel()
            try:
                await attempt(what, partial(channel.queue_declare, name, exclusive=True, arguments=_CLASSIC))
            except TopologyError as error:
                if error.code == 403:
                    continue
                text = f"not every queue can be declared: {str(error).replace(name, what.name)}"
                self._report(Finding(f"FAILED: {text}", is_wrong=True))
                return
            channel.close()

    async def _try_arguments(self, what: Queue) -> None:
        name = _trial_name(what)
        trial = replace(what, name=name, arguments={"x-expires": _TRIAL_EXPIRES, **what.arguments})
        channel = await self._session.channel()
        try:
            await attempt(trial, declaring(channel, trial))
        except TopologyError as error:
            if error.code != 403:
                raise TopologyError(str(error).replace(name, what.name), code=error.code, is_final=True) from None
            text = f"its arguments were not tried: the user may declare it, but no queue {name!r}"
            self._report(Finding(f"{what}: {text}"))
            return
        await attempt(trial, partial(channel.queue_delete, name))
        channel.close()


def _trial_name(what: Queue) -> str:
    return f"{what.name.encode()[:_NAME_BYTES].decode(errors='ignore')}.check-{secrets.token_hex(8)}"


def _unbind(channel: TwistedChannel, binding: Binding) -> Deferred[Any]:
    return channel.queue_unbind(binding.queue, binding.exchange, binding.key, arguments=_NO_BINDING)


def _declare_wrongly(what: Queue, channel: TwistedChannel) -> Deferred[Any]:
    return channel.queue_declare(what.name, durable=what.durable, arguments={**what.arguments, "x-expires": 0})
