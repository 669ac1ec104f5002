"""``POST /demo/failures``: makes a few messages fail. Only the demo's plain listener has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from klein import Klein
from pika import BasicProperties
from twisted.logger import Logger

from provider_gateway.demo.failing_messages import failing_messages
from provider_gateway.devbroker.frames import ExactProperties
from provider_gateway.devbroker.message import Message
from provider_gateway.workbench.pages import FAILURES

if TYPE_CHECKING:
    from twisted.web.iweb import IRequest

    from provider_gateway.clocks import WallClock
    from provider_gateway.config.queue_file import QueueEntry
    from provider_gateway.devbroker.server import Broker


class Failures:
    """The resource of the demo alone.

    Args:
        broker: the embedded one, which gets the messages.
        entry: of the queue file; its work queue gets them.
        wall_clock: has the time until which some of them fail.
    """

    app = Klein()
    _log = Logger()

    def __init__(self, broker: Broker, entry: QueueEntry, wall_clock: WallClock) -> None:
        self._broker = broker
        self._entry = entry
        self._wall_clock = wall_clock

    @app.route(FAILURES, methods=["POST"])
    def make(self, request: IRequest) -> bytes:
        """Publish messages that fail."""
        entry = self._entry
        for each in failing_messages(entry, self._wall_clock()):
            properties: Any = BasicProperties(
                content_type=each.content_type,
                headers=each.headers,
                reply_to=each.reply_to,
                message_id=each.message_id,
                delivery_mode=2,
            )
            encoded = ExactProperties.decoded(b"".join(properties.encode()))
            self._broker.vhost.publish(Message(entry.exchange, each.routing_key, encoded, each.body))
        self._log.info("messages that fail were published to {queue}, as asked for", queue=entry.queue_name)
        request.setResponseCode(204)
        return b""
