"""Publishes webhooks to their queues, each until the broker has confirmed it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.logger import Logger

from provider_gateway.deferreds import sleep
from provider_gateway.errors import GatewayError, NoRoute
from provider_gateway.tracing.publishes import begin_publish

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from twisted.internet.interfaces import IReactorTime

    from provider_gateway.amqp.publisher import Publisher
    from provider_gateway.message.message import Message
    from provider_gateway.tracing.span import AnySpan

#: Seconds to wait for a confirm. Then the webhook is published again.
_CONFIRM_TIMEOUT = 60.0
#: Seconds before a webhook that was not taken is published again; doubled up to the last.
_FIRST_DELAY, _LAST_DELAY = 0.5, 15.0


class Mover:
    """Publishes webhooks.

    Args:
        restore: declares the queues again: one is missing.
        clock: times confirms and delays.
    """

    _log = Logger()

    def __init__(self, publisher: Publisher, restore: Callable[[], Awaitable[None]], clock: IReactorTime) -> None:
        self._publisher = publisher
        self._restore = restore
        self._clock = clock

    async def put(
        self,
        make: Callable[[], Message],
        queue: str,
        is_needed: Callable[[], bool] = lambda: True,
        *,
        span: AnySpan | None = None,
    ) -> bool:
        """Publish a webhook until it is confirmed.

        Args:
            make: makes its message. Each publish has another one: it is told apart by its id.
            queue: where to.
            is_needed: False if it need not be published any more; asked before each publish.
            span: each publish is a part of it; None without traces.

        Returns:
            False if it was not needed any more.
        """
        delay = _FIRST_DELAY
        while True:
            await self._publisher.when_ready()
            if not is_needed():
                return False
            try:
                message = make()
                if span is not None:
                    begin_publish(span, message, "", queue)
                confirm = self._publisher.publish(message, "", queue)
                await confirm.addTimeout(_CONFIRM_TIMEOUT, self._clock)
            except (GatewayError, DeferredTimeoutError) as error:
                reason = str(error) or f"no confirm within {_CONFIRM_TIMEOUT:g} s"
                self._log.warn("A webhook could not be put into {queue}: {reason}", queue=queue, reason=reason)
                if isinstance(error, NoRoute):
                    await self._restore()
            else:
                return True
            await sleep(self._clock, delay)
            delay = min(2 * delay, _LAST_DELAY)
