"""The base of the contract's tests: names of their own, connections, and the words for what they check.

Tests talk to the broker as other programs do: by a plain blocking pika connection in a thread, or frame by frame.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from functools import wraps
from typing import TYPE_CHECKING, Any

import pika
from pika.exceptions import AMQPError, ChannelClosedByBroker, ConnectionClosedByBroker
from twisted.internet.threads import deferToThread

from tests.contract.wire import WireClient

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pika.adapters.blocking_connection import BlockingChannel
    from twisted.internet.defer import Deferred

#: Seconds for what is to happen at once, or after a time to live of milliseconds.
PATIENCE = 10.0
_POLL = 0.005


class Inbox:
    """A consumer that keeps what it gets.

    Args:
        auto_ack: the broker takes deliveries as acknowledged.

    Attributes:
        messages: method, properties and body of each delivery.
        tag: of the consumer.
    """

    def __init__(self, channel: BlockingChannel, queue: str, *, auto_ack: bool = True, **options: Any) -> None:
        self._channel = channel
        self.messages: list[tuple[Any, Any, bytes]] = []
        self.tag: str = channel.basic_consume(queue, self._take, auto_ack=auto_ack, **options)

    def _take(self, _channel: object, method: Any, properties: Any, body: bytes) -> None:
        self.messages.append((method, properties, body))

    @property
    def bodies(self) -> list[bytes]:
        """Of the deliveries so far, in order."""
        return [body for _, _, body in self.messages]

    @property
    def tags(self) -> list[int]:
        """Delivery tags of the deliveries so far."""
        return [method.delivery_tag for method, _, _ in self.messages]

    def wait(self, count: int) -> list[bytes]:
        """Wait for so many deliveries; returns their bodies."""
        wait_until(self._channel, lambda: len(self.messages) >= count)
        return self.bodies

    def settle(self) -> list[bytes]:
        """Take what was sent before the broker answers a method on this channel; returns the bodies of all."""
        self._channel.basic_qos(prefetch_count=0)
        self._channel.connection.process_data_events(0)
        return self.bodies


def wait_until(channel: BlockingChannel, condition: Callable[[], object]) -> None:
    """Handle what the broker sends until a condition holds.

    Raises:
        AssertionError: it does not in time.
    """
    deadline = time.monotonic() + PATIENCE
    while not condition():
        left = deadline - time.monotonic()
        if left <= 0:
            msg = "the broker did not send what was expected"
            raise AssertionError(msg)
        channel.connection.process_data_events(left)


if TYPE_CHECKING:
    from twisted.trial.unittest import TestCase as _Base
else:
    _Base = object


class BrokerContract(_Base):
    """What the tests of a contract have: names of their own, connections, and the words for what they check.

    Attributes:
        url: of the broker.
    """

    url: str

    async def setUp(self) -> None:
        await super().setUp()
        self._prefix = f"c{secrets.token_hex(3)}"
        self._names: set[str] = set()
        self._connections: list[Any] = []
        self.addCleanup(deferToThread, self._delete)

    def _delete(self) -> None:
        if not self._names:
            return
        with pika.BlockingConnection(pika.URLParameters(self.url)) as connection:
            channel = connection.channel()
            for name in self._names:
                channel.queue_delete(name)
                channel.exchange_delete(name)

    def run_on_channel(self, use: Callable[[BlockingChannel], Any]) -> Deferred[Any]:
        """Run a function in a thread with a channel; the Deferred fires with its result.

        What is published on the channel is confirmed before it goes on: RabbitMQ's count of the messages that wait
        may be older than a publish.
        """

        def run() -> Any:
            try:
                channel = self.connect().channel()
                channel.confirm_delivery()
                return use(channel)
            finally:
                for each in reversed(self._connections):
                    with contextlib.suppress(AMQPError, OSError):
                        each.close()
                self._connections.clear()

        return deferToThread(run)

    def connect(self, **parameters: Any) -> pika.BlockingConnection:
        """Another connection, within the thread of the test, which closes it."""
        wanted = pika.URLParameters(self.url)
        for name, value in parameters.items():
            setattr(wanted, name, value)
        connection = pika.BlockingConnection(wanted)
        self._connections.append(connection)
        return connection

    def wire(self, *, login: bool = True) -> WireClient:
        """A connection of frames, within the thread of the test, which closes it; with a channel 1 if logged in."""
        client = WireClient(self.url)
        self._connections.append(client)
        if login:
            client.open()
        return client

    def name(self, what: str) -> str:
        """A name that only this test uses; what has it is deleted afterwards."""
        name = f"{self._prefix}.{what}"
        self._names.add(name)
        return name

    def queue(
        self, channel: BlockingChannel, what: str = "queue", arguments: Mapping[str, Any] | None = None, **flags: bool
    ) -> str:
        """Declare a queue of the test's own; returns its name."""
        name = self.name(what)
        channel.queue_declare(name, arguments=arguments, **flags)
        return name

    def exchange(self, channel: BlockingChannel, type_: str, what: str = "exchange", **flags: bool) -> str:
        """Declare an exchange of the test's own; returns its name."""
        name = self.name(what)
        channel.exchange_declare(name, type_, **flags)
        return name

    def publish(
        self, channel: BlockingChannel, key: str, *bodies: bytes, exchange: str = "", **properties: Any
    ) -> None:
        """Publish messages, by default to the queue that has the key as its name."""
        for body in bodies or (b"1",):
            channel.basic_publish(exchange, key, body, pika.BasicProperties(**properties))

    def get(self, channel: BlockingChannel, queue: str) -> bytes | None:
        """The first message of a queue, acknowledged; None if it is empty."""
        return channel.basic_get(queue, auto_ack=True)[2]

    def take(self, channel: BlockingChannel, queue: str, count: int = 1) -> list[tuple[Any, Any, bytes]]:
        """Wait for messages of a queue; returns method, properties and body of each."""
        inbox = Inbox(channel, queue)
        try:
            inbox.wait(count)
        finally:
            channel.basic_cancel(inbox.tag)
        self.assertEqual(len(inbox.messages), count, inbox.bodies)
        return inbox.messages

    def count(self, channel: BlockingChannel, queue: str) -> int:
        """How many messages wait in a queue."""
        waiting: int = channel.queue_declare(queue, passive=True).method.message_count
        return waiting

    def wait_for_count(self, channel: BlockingChannel, queue: str, count: int) -> None:
        """Wait until so many messages wait in a queue."""
        deadline = time.monotonic() + PATIENCE
        while (waiting := self.count(channel, queue)) != count:
            self.assertLess(time.monotonic(), deadline, f"{waiting} messages in {queue}, not {count}")
            time.sleep(_POLL)

    def wait_until_gone(self, connection: pika.BlockingConnection, queue: str, pause: float = _POLL) -> None:
        """Wait until there is no queue of this name; looks for it at once and then with a pause of so many seconds."""
        deadline = time.monotonic() + PATIENCE
        while self.exists(connection, queue):
            self.assertLess(time.monotonic(), deadline, f"{queue} is still there")
            time.sleep(pause)

    def exists(self, connection: pika.BlockingConnection, name: str, *, exchange: bool = False) -> bool:
        """True if there is a queue, or an exchange, of this name."""
        channel = connection.channel()
        try:
            if exchange:
                channel.exchange_declare(name, passive=True)
            else:
                channel.queue_declare(name, passive=True)
        except ChannelClosedByBroker as error:
            # An exclusive queue of another connection is there, too.
            self.assertIn(error.reply_code, (404, 405))
            return error.reply_code == 405
        channel.close()
        return True

    def assert_refused(self, code: int, text: str, call: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Check that a call closes its channel, with this code and text."""
        error: Any = self.assertRaises(ChannelClosedByBroker, call, *args, **kwargs)
        self.assertEqual((error.reply_code, error.reply_text), (code, text))

    def assert_closed(self, channel: BlockingChannel, code: int, text: str) -> None:
        """Check that the broker closes a channel over what was sent on it, with this code and text."""
        self.assert_refused(code, text, channel.basic_qos)

    def assert_disconnected(self, code: int, text: str, call: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Check that a call closes its connection, with this code and text."""
        error: Any = self.assertRaises(ConnectionClosedByBroker, call, *args, **kwargs)
        self.assertEqual((error.reply_code, error.reply_text), (code, text))


def on_channel(test: Callable[[Any, BlockingChannel], None]) -> Callable[[Any], Deferred[None]]:
    """Make a test of a function that takes a channel, see :meth:`BrokerContract.run_on_channel`."""

    @wraps(test)
    def run(self: BrokerContract) -> Deferred[None]:
        return self.run_on_channel(lambda channel: test(self, channel))

    return run
