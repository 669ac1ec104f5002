"""A consumer in place of a provider: takes the request messages of a gateway, and replies as a test tells it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import pika

from tests.security.base import SecurityTestCase, channel
from tests.security.client import post
from tests.support.rabbitmq import take

if TYPE_CHECKING:
    from tests.security.client import Connection, Response


class WorkerTestCase(SecurityTestCase):
    """A gateway without a provider: the test takes the messages and replies to them."""

    arguments: ClassVar[tuple[str, ...]] = ("--role", "gateway")

    def message_for(self, connection: Connection, request: bytes) -> Any:
        """Send a request and take its message; returns the message's properties."""
        connection.send(request)
        with channel() as opened:
            ((properties, _),) = take(opened, self.deployment.queue)
        return properties

    def answer(self, body: bytes = b"{}", headers: dict[str, Any] | None = None, **properties: Any) -> Response:
        """The HTTP response to a request whose reply has these headers and properties."""
        with self.connect() as connection:
            asked = self.message_for(connection, post(b"1"))
            told = {"content_type": "application/json", "correlation_id": asked.correlation_id, **properties}
            with channel() as opened:
                opened.basic_publish("", asked.reply_to, body, pika.BasicProperties(headers=headers, **told))
            return connection.response()
