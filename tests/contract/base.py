"""The base of the contract's tests: unique names, connections, and checks.

Tests use the broker as other programs do: by a blocking pika connection in a thread, or frame by frame.
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

#: Time limit in seconds for events that come at once, or after a time to live of milliseconds.
PATIENCE = 10.0
_POLL = 0.005


class Inbox:
    """A consumer that keeps its deliveries.

    Args:
        auto_ack: consume without acknowledgements.

    Attributes:
        messages: method, properties and body of each delivery.
        tag: the consumer tag.
    """

    def __init__(self, channel: BlockingChannel, queue: str, *, auto_ack: bool = True, **options: Any) -> None:
        self._channel = channel
        self.messages: list[tuple[Any, Any, bytes]] = []
        self.tag: str = channel.basic_consume(queue, self._take, auto_ack=auto_ack, **options)

    def _take(self, _channel: object, method: Any, properties: Any, body: bytes) -> None:
        self.messages.append((method, properties, body))

    @property
    def bodies(self) -> list[bytes]:
        """The bodies of the deliveries so far, in order."""
        return [body for _, _, body in self.messages]

    @property
    def tags(self) -> list[int]:
        """The delivery tags so far."""
        return [method.delivery_tag for method, _, _ in self.messages]

    def wait(self, count: int) -> list[bytes]:
        """Wait for this many deliveries; returns their bodies."""
        wait_until(self._channel, lambda: len(self.messages) >= count)
        return self.bodies

    def settle(self) -> list[bytes]:
        """Wait for the answer to a method on this channel, and so for all earlier deliveries; returns all bodies."""
        self._channel.basic_qos(prefetch_count=0)
        self._channel.connection.process_data_events(0)
        return self.bodies


def wait_until(channel: BlockingChannel, condition: Callable[[], object]) -> None:
    """Process data from the broker until a condition holds.

    Raises:
        AssertionError: the condition does not hold in time.
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
    """Unique names, connections and checks for the tests of a contract.

    Attributes:
        url: the broker's address.
    """

    url: str
    limit: Callable[..., None]
    _version: tuple[int, ...] | None = None

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
        """Run a function in a thread with a channel; a Deferred of its result.

        Each publish on the channel waits for its confirm: else RabbitMQ's count of ready messages may be older than
        the publish.
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
        """Open another connection, to be used in the test's thread; the test closes it in the end."""
        wanted = pika.URLParameters(self.url)
        for name, value in parameters.items():
            setattr(wanted, name, value)
        connection = pika.BlockingConnection(wanted)
        self._connections.append(connection)
        return connection

    @property
    def since_4(self) -> bool:
        """True if the broker is, or imitates, RabbitMQ 4.0 or later, which does some things otherwise than 3.10."""
        if self._version is None:
            told = WireClient(self.url)
            try:
                version = told.start("demo", "demo").server_properties["version"]
            finally:
                told.close()
            self._version = tuple(int(each) for each in version.split(".")[:2])
        return self._version >= (4, 0)

    def wire(self, *, login: bool = True) -> WireClient:
        """Open a frame-by-frame connection, with channel 1 if it is to log in; the test closes it in the end."""
        client = WireClient(self.url)
        self._connections.append(client)
        if login:
            client.open()
        return client

    def name(self, what: str) -> str:
        """A unique name; a queue or exchange of this name is deleted after the test."""
        name = f"{self._prefix}.{what}"
        self._names.add(name)
        return name

    def queue(
        self, channel: BlockingChannel, what: str = "queue", arguments: Mapping[str, Any] | None = None, **flags: bool
    ) -> str:
        """Declare a queue with a unique name; returns the name."""
        name = self.name(what)
        channel.queue_declare(name, arguments=arguments, **flags)
        return name

    def exchange(self, channel: BlockingChannel, type_: str, what: str = "exchange", **flags: bool) -> str:
        """Declare an exchange with a unique name; returns the name."""
        name = self.name(what)
        channel.exchange_declare(name, type_, **flags)
        return name

    def publish(
        self, channel: BlockingChannel, key: str, *bodies: bytes, exchange: str = "", **properties: Any
    ) -> None:
        """Publish messages, by default to the queue named like the routing key."""
        for body in bodies or (b"1",):
            channel.basic_publish(exchange, key, body, pika.BasicProperties(**properties))

    def get(self, channel: BlockingChannel, queue: str) -> bytes | None:
        """Take the first message of a queue and acknowledge it; None if there is none."""
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
        """The number of ready messages in a queue."""
        waiting: int = channel.queue_declare(queue, passive=True).method.message_count
        return waiting

    def wait_for_count(self, channel: BlockingChannel, queue: str, count: int) -> None:
        """Wait until this many messages are ready in a queue. Brokers tell nobody, so it is asked again and again."""
        deadline = time.monotonic() + PATIENCE
        while (waiting := self.count(channel, queue)) != count:
            self.assertLess(time.monotonic(), deadline, f"{waiting} messages in {queue}, not {count}")
            time.sleep(_POLL)

    def wait_until_gone(self, connection: pika.BlockingConnection, queue: str, pause: float = _POLL) -> None:
        """Wait until there is no queue of this name; looks for it at once, and again after each pause (seconds)."""
        deadline = time.monotonic() + PATIENCE
        while self.exists(connection, queue):
            self.assertLess(time.monotonic(), deadline, f"{queue} is still there")
            time.sleep(pause)

    def exists(self, connection: pika.BlockingConnection, name: str, *, exchange: bool = False) -> bool:
        """True if there is a queue, or an exchange, with this name."""
        channel = connection.channel()
        try:
            if exchange:
                channel.exchange_declare(name, passive=True)
            else:
                channel.queue_declare(name, passive=True)
        except ChannelClosedByBroker as error:
            # 405, RESOURCE_LOCKED: it exists, and is another connection's exclusive queue.
            self.assertIn(error.reply_code, (404, 405))
            return error.reply_code == 405
        channel.close()
        return True

    def assert_refused(self, code: int, text: str, call: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Check that a call closes its channel, with this code and text."""
        error: Any = self.assertRaises(ChannelClosedByBroker, call, *args, **kwargs)
        self.assertEqual((error.reply_code, error.reply_text), (code, text))

    def assert_closed(self, channel: BlockingChannel, code: int, text: str) -> None:
        """Check that the broker closes a channel over an earlier method, with this code and text."""
        self.assert_refused(code, text, channel.basic_qos)

    def assert_disconnected(self, code: int, text: str, call: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Check that a call closes its connection, with this code and text."""
        error: Any = self.assertRaises(ConnectionClosedByBroker, call, *args, **kwargs)
        self.assertEqual((error.reply_code, error.reply_text), (code, text))


def on_channel(test: Callable[[Any, BlockingChannel], None]) -> Callable[[Any], Deferred[None]]:
    """Decorate a test that takes a channel, see :meth:`BrokerContract.run_on_channel`."""

    @wraps(test)
    def run(self: BrokerContract) -> Deferred[None]:
        return self.run_on_channel(lambda channel: test(self, channel))

    return run
