"""Messages as values: their AMQP properties, and the HTTP status of a reply."""

from __future__ import annotations

from dataclasses import replace

from pika.spec import BasicProperties
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.message.message import Message


class PropertiesTests(SynchronousTestCase):
    """AMQP properties."""

    def test_round_trip(self) -> None:
        """The consumer sees the properties that were published, headers of every type included."""
        sent = Message(
            b"[1]",
            headers={"RqUID": "r", "pg-status": 404, "größe": "ä", "table": {"a": [1, True]}},
            content_type="text/plain",
            correlation_id="c",
            reply_to="q",
            message_id="m",
        )
        found = Message.received(sent.properties(), b"[1]")
        self.assertEqual(found.original, sent.properties())
        self.assertEqual(sent, replace(found, original=None))

    def test_persistent(self) -> None:
        """Every message outlives a restart of the broker: delivery mode 2."""
        self.assertEqual(2, BasicProperties().decode(Message(b"").properties()).delivery_mode)

    def test_fresh_message_id(self) -> None:
        """Two messages never share a message id."""
        self.assertNotEqual(Message(b"").message_id, Message(b"").message_id)

    def test_no_properties_at_all(self) -> None:
        """A message without properties can be received; nothing is added to it."""
        found = replace(Message.received(b"".join(BasicProperties().encode()), b"x"), original=None)
        self.assertEqual(
            Message(b"x", headers={}, content_type=None, correlation_id=None, reply_to=None, message_id=None), found
        )


class StatusTests(SynchronousTestCase):
    """The HTTP status of a reply."""

    def test_pg_status(self) -> None:
        """A number from 200 to 599 is the status; anything else, or no header, is 200."""
        for value, expected in ((200, 200), (422, 422), (599, 599), (502, 502)):
            self.assertEqual(expected, Message(b"", headers={"pg-status": value}).status, repr(value))
        for value in (199, 100, 600, 0, -404, "404", 404.0, True, None, {"a": 1}):
            self.assertEqual(200, Message(b"", headers={"pg-status": value}).status, repr(value))
        self.assertEqual(200, Message(b"").status)
