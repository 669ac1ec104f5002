"""Tries methods with a wrong argument: if the broker refuses that, what it looks at before was right."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from provider_gateway.amqp.attempted_uses import TryPublish
from provider_gateway.amqp.declare import attempt
from provider_gateway.errors import TopologyError
from provider_gateway.topology.declarations import Exchange, Queue

if TYPE_CHECKING:
    from provider_gateway.amqp.attempted_uses import Method
    from provider_gateway.amqp.session import Session
    from provider_gateway.topology.declarations import Declared
    from provider_gateway.topology.refusals import Use


async def try_use(session: Session, what: Use, method: Method) -> None:
    """Try a use of an object.

    Raises:
        TopologyError: it is not permitted.
    """
    refused = await expect_refusal(session, what, method)
    if isinstance(method, TryPublish) and refused is not None and "expiration" in str(refused):
        # RabbitMQ 4 looks at topic permissions only after the expiration.
        await expect_refusal(session, what, method.in_transaction)


async def expect_refusal(session: Session, what: Declared | Use, method: Method) -> TopologyError | None:
    """Try a method with a wrong argument.

    Returns:
        The refusal of the argument, or of an object that is not there; None if it was not refused.

    Raises:
        TopologyError: it was refused for another reason.
    """
    channel = await session.channel()
    try:
        await attempt(what, partial(method, channel))
    except TopologyError as error:
        if not _is_expected(error):
            raise
        return error
    # Nothing was unbound; or this is no RabbitMQ, and what has been made must not stay.
    if isinstance(what, Queue):
        await attempt(what, partial(channel.queue_delete, what.name, if_unused=True, if_empty=True))
    elif isinstance(what, Exchange):
        await attempt(what, partial(channel.exchange_delete, what.name, if_unused=True))
    channel.close()
    return None


def is_missing(error: TopologyError) -> bool:
    """True if there is no such object; 404 is a queue's code, too, whose node is down."""
    return error.code == 404 and "NOT_FOUND - no " in str(error)


def _is_expected(error: TopologyError) -> bool:
    """True for the refusal of a wrong argument, and of an object that is not there."""
    if is_missing(error):
        return True
    wrong = ("invalid arg 'x-expires'", "'alternate-exchange'", "invalid arg 'x-priority'", "user_id", "invalid expir")
    return error.code == 406 and any(each in str(error) for each in wrong)
