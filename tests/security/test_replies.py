"""Replies: which addresses hostile AMQP clients can name, and replies that no caller waits for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pika

from tests.security.base import channel
from tests.security.client import post
from tests.security.messages import MessagesTestCase
from tests.security.worker import WorkerTestCase
from tests.support.rabbitmq import take

if TYPE_CHECKING:
    from tests.security.base import Deployment

REPLY_TIMEOUT = 1


class ReplyAddressTests(MessagesTestCase):
    """Which reply addresses are served."""

    def assert_address_refused(self, address: str, key: str = "predict.now", queue: str | None = None) -> None:
        """Check that a message with this reply address is parked, and not served."""
        self.publish(key=key, reply_to=address)
        self.assertEqual(self.assert_parked("reply-to", queue).reply_to, address)
        self.assertEqual(self.model.asked, [])

    def test_queues_of_ours(self) -> None:
        """Work, retry and parking queues are no reply addresses: a reply must not become a request."""
        for address in (
            self.queue,
            f"{self.queue}.retry",
            f"{self.queue}.parking",
            self.strict,
            f"{self.strict}.parking",
        ):
            self.assert_address_refused(address)
        self.assert_at_rest()

    def test_queue_of_ours_that_is_called_like_a_reply_queue(self) -> None:
        """A work queue whose name is below the configured replyTo is no reply address."""
        self.assert_address_refused(f"{self.output}.work")
        self.assert_address_refused(f"{self.output}.work.parking")
        self.assert_at_rest()

    def test_default(self) -> None:
        """By default every other queue is a reply address: AMQP clients use queues of their own."""
        with channel() as opened:
            mine = opened.queue_declare("", exclusive=True).method.queue
            opened.basic_publish(self.deployment.exchange, "predict.now", b"1", pika.BasicProperties(reply_to=mine))
            ((_, body),) = take(opened, mine)
        self.assertEqual(body, b"1")

    def test_configured(self) -> None:
        """The configured replyTo and names below it are reply addresses everywhere."""
        below = f"{self.output}.mine"
        with channel() as opened:
            opened.queue_declare(below, exclusive=True)
            for address in (self.output, below):
                for key in ("predict.now", "strict"):
                    told = pika.BasicProperties(reply_to=address)
                    opened.basic_publish(self.deployment.exchange, key, b'"%s"' % key.encode(), told)
                    ((_, body),) = take(opened, address)
                    self.assertEqual(body, b'"%s"' % key.encode())

    def test_patterns(self) -> None:
        """With replyToAllowed, only names that fit its patterns are reply addresses."""
        for address in ("elsewhere", "allowed", "allowed.a.b", f"not.{self.output}", f"{self.output}s", self.queue):
            self.assert_address_refused(address, "strict", self.strict)
        with channel() as opened:
            for address in ("allowed.mine", "some.mine.too"):
                opened.queue_declare(address, exclusive=True)
                told = pika.BasicProperties(reply_to=address)
                opened.basic_publish(self.deployment.exchange, "strict", b"1", told)
                self.assertEqual(len(take(opened, address)), 1)
        self.assert_at_rest()

    def test_default_exchange(self) -> None:
        """A reply goes to the queue of that name or nowhere: no other exchange and no binding routes it."""
        with channel() as opened:
            victim = opened.queue_declare("", exclusive=True).method.queue
            opened.queue_bind(victim, self.deployment.exchange, "victim.key")
            opened.queue_bind(victim, "amq.fanout")
            for address in ("victim.key", "amq.fanout", self.deployment.exchange):
                self.publish(reply_to=address)
                self.assert_parked("reply")
            self.assertEqual(opened.queue_declare(victim, passive=True).method.message_count, 0)


class ReplyTests(WorkerTestCase):
    """Replies that no caller waits for."""

    @classmethod
    def variables(cls, deployment: Deployment) -> dict[str, str]:
        """A short REPLY_TIMEOUT."""
        return {"REPLY_TIMEOUT": str(REPLY_TIMEOUT)}

    def replies(self, kind: str) -> float:
        """The number of replies counted as this kind."""
        return self.metric(f'provider_gateway_replies_total{{kind="{kind}"}}')

    def reply(self, address: str, correlation_id: Any, body: bytes) -> None:
        """Publish a reply."""
        with channel() as opened:
            opened.basic_publish("", address, body, pika.BasicProperties(correlation_id=correlation_id), mandatory=True)

    def test_unknown(self) -> None:
        """A reply with an unknown correlation id, or without one, is dropped and counted; no waiting caller gets it."""
        with self.connect() as connection:
            asked = self.message_for(connection, post(b"1"))
            unknown = self.replies("unknown")
            for correlation_id in (None, "", "unknown", asked.correlation_id.upper() + "x", b"\xff\xfe"):
                self.reply(asked.reply_to, correlation_id, b'"not for you"')
            self.reply(asked.reply_to, asked.correlation_id, b'"for you"')
            self.assertEqual(connection.response().body, b'"for you"')
        self.assertEqual(self.replies("unknown"), unknown + 5)

    def test_repeated(self) -> None:
        """Of two replies to one request the caller gets the first; the second is dropped and counted."""
        with self.connect() as connection:
            first = self.message_for(connection, post(b"1"))
            unknown = self.replies("unknown")
            for body in (b'"first"', b'"again"'):
                self.reply(first.reply_to, first.correlation_id, body)
            self.assertEqual(connection.response().body, b'"first"')
            second = self.message_for(connection, post(b"2"))
            self.reply(first.reply_to, first.correlation_id, b'"and again"')
            self.reply(second.reply_to, second.correlation_id, b'"second"')
            self.assertEqual(connection.response().body, b'"second"')
        self.assertEqual(self.replies("unknown"), unknown + 2)

    def test_late(self) -> None:
        """A reply that comes after the deadline of its request is dropped and counted."""
        with self.connect() as connection:
            asked = self.message_for(connection, post(b"1"))
            self.assert_problem(connection.response(), 504, "deadline-passed")
            late = self.replies("late")
            self.reply(asked.reply_to, asked.correlation_id, b'"late"')
            second = self.message_for(connection, post(b"2"))
            self.reply(second.reply_to, second.correlation_id, b'"second"')
            self.assertEqual(connection.response().body, b'"second"')
        self.assertEqual(self.replies("late"), late + 1)
