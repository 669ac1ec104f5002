"""Notices: published without a confirm, received by a queue of one connection that is bound by what is waited for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred

from provider_gateway.amqp.declare import declares
from provider_gateway.amqp.notice_queue import NoticeQueue
from provider_gateway.amqp.notices import NoticePublisher
from provider_gateway.topology.declarations import Exchange
from tests.support.embedded_broker import BrokerTestCase

if TYPE_CHECKING:
    from provider_gateway.amqp.session import Session

DONE = Exchange("response.done", "direct")


class NoticesTestCase(BrokerTestCase):
    """A publisher of notices, and a queue for them, each on a session of its own."""

    def setUp(self) -> None:
        super().setUp()
        self.heard: list[str] = []
        self.bound = 0
        self.publisher = NoticePublisher(declares(DONE), self.clock)
        self.queue = NoticeQueue(
            "response.one.notices", DONE, on_notice=self.heard.append, on_bound=self.was_bound, clock=self.clock
        )
        self.publishing, self.consuming = self.opened(self.publisher), self.opened(self.queue)

    def was_bound(self) -> None:
        self.bound += 1

    def opened(self, what: NoticePublisher | NoticeQueue) -> Session:
        session = self.connect()
        self.run_(what.open(session))
        self.pump()
        return session

    def notify(self, *keys: str) -> None:
        for key in keys:
            self.publisher.notify(DONE.name, key)
        self.pump()

    def bind(self, key: str) -> bool:
        return bool(self.run_(self.queue.bind(key)))

    def names(self) -> list[str]:
        return [name for name in self.broker.vhost.queues if name.startswith("response.one.notices.")]


class NoticeTests(NoticesTestCase):
    """Who hears which notices."""

    def test_bound(self) -> None:
        """A notice is heard by who is bound with its key when it is published, and by nobody else."""
        self.notify("a")
        self.assertTrue(self.bind("a"))
        self.notify("a", "b")
        self.assertEqual(self.heard, ["a"])
        self.assertEqual(self.unacked(self.names()[0]), 0)

    def test_unbound(self) -> None:
        """A key stays bound until each of those who wait for it has stopped."""
        self.bind("a")
        self.bind("a")
        self.queue.unbind("a")
        self.notify("a")
        self.queue.unbind("a")
        self.pump()
        self.notify("a")
        self.assertEqual(self.heard, ["a"])
        self.assertEqual(len(self.broker.vhost.exchanges[DONE.name].bindings), 0)

    def test_unbound_and_bound_again(self) -> None:
        """Who begins to wait while the key is being unbound hears the notice."""
        self.bind("a")
        self.queue.unbind("a")
        self.assertTrue(self.bind("a"))
        self.notify("a")
        self.assertEqual(self.heard, ["a"])

    def test_initial_keys(self) -> None:
        """A queue of a fanout exchange hears all, by one binding that is there from the beginning."""
        canceled, heard = Exchange("response.canceled", "fanout"), []
        self.opened(NoticeQueue("q", canceled, keys=[""], on_notice=heard.append, clock=self.clock))
        for key in ("x", "é" * 127):
            self.publisher.notify(canceled.name, key)
        self.pump()
        self.assertEqual(heard, ["x", "é" * 127])

    def test_what_is_sent(self) -> None:
        """A notice is empty and transient, and unrouted ones are dropped without a word."""
        self.make_queue("other")
        self.other().queue_bind("other", DONE.name, "a")
        self.pump()
        self.notify("nobody", "a")
        (notice,) = self.take("other")
        self.assertEqual((notice.body, notice.original), (b"", b"\0\0"))

    def test_too_long(self) -> None:
        """A key that AMQP cannot carry raises nothing, and does not end the channel."""
        self.bind("a")
        self.notify("x" * 256, "a")
        self.assertEqual(self.heard, ["a"])
        self.flushLoggedErrors()


class ReconnectTests(NoticesTestCase):
    """What happens when connections, channels, queues and exchanges are lost."""

    def test_new_session(self) -> None:
        """On a new session all keys are bound again, under a new name, before ``on_bound`` is called."""
        for key in ("a", "b", "c"):
            self.bind(key)
        self.queue.unbind("c")
        before = self.names()
        self.opened(self.queue)  # the broker has not noticed the loss of the old one
        self.assertEqual((self.bound, len(self.names())), (2, 2))
        self.lose(self.consuming)
        self.assertNotIn(before[0], self.names())
        self.notify("a", "b", "c")
        self.assertEqual(self.heard, ["a", "b"])

    def test_without_session(self) -> None:
        """To bind without a connection fails softly, and is made good on the next one."""
        self.lose(self.consuming)
        self.assertFalse(self.bind("a"))
        self.assertFalse(self.queue.is_consumed)
        self.queue.unbind("a")
        self.assertFalse(self.bind("b"))
        self.opened(self.queue)
        self.assertTrue(self.queue.is_consumed)
        self.notify("a", "b")
        self.assertEqual(self.heard, ["b"])

    def test_bound_while_opening(self) -> None:
        """Keys that come and go while a queue is declared are bound, or not, as they are wanted in the end."""
        self.bind("old")
        self.lose(self.consuming)
        session = self.connect()
        opened = Deferred.fromCoroutine(self.queue.open(session))  # nothing is carried to the broker yet
        self.queue.unbind("old")
        late = Deferred.fromCoroutine(self.queue.bind("late"))
        self.pump()
        self.successResultOf(opened)
        self.assertFalse(self.successResultOf(late))
        self.notify("old", "late")
        self.assertEqual((self.heard, self.bound), (["late"], 2))

    def test_queue_deleted(self) -> None:
        """A queue that somebody deletes is made again, with its bindings."""
        self.bind("a")
        (name,) = self.names()
        self.broker.vhost.delete(self.broker.vhost.queues[name])
        self.pump()
        self.advance(1)
        self.notify("a")
        self.assertEqual((self.heard, self.bound), (["a"], 2))
        self.assertTrue(self.bind("b"))

    def test_exchange_deleted(self) -> None:
        """An exchange that somebody deletes is declared again by both sides, and the last notices are repeated."""
        self.bind("a")
        self.other().exchange_delete(DONE.name)
        self.pump()
        self.notify("a")
        self.assertFalse(self.bind("b"))
        self.advance(2)
        self.notify("b")
        self.assertEqual(self.heard[-1], "b")
        self.assertEqual(len(self.names()), 1)

    def test_exchange_deleted_before_a_new_session(self) -> None:
        """An attempt to bind on an old connection leaves the queue of the new one alone."""
        self.other().exchange_delete(DONE.name)
        self.pump()
        self.assertFalse(self.bind("a"))
        self.lose(self.consuming)
        self.opened(self.queue)
        self.advance(2)
        self.assertTrue(self.bind("b"))

    def test_publisher_without_session(self) -> None:
        """Notices of a time without a connection are published on the next one, the last 1,000."""
        self.bind("0")
        self.bind("1199")
        self.lose(self.publishing)
        self.notify(*map(str, range(1200)))
        self.assertEqual(self.heard, [])
        self.opened(self.publisher)
        self.assertEqual(self.heard, ["1199"])

    def test_old_session(self) -> None:
        """The end of an old connection does not disturb the new one."""
        new = self.opened(self.publisher)
        self.lose(self.publishing)
        self.bind("a")
        self.notify("a")
        self.assertEqual(self.heard, ["a"])
        self.assertTrue(new.is_open)

    def test_slow_broker(self) -> None:
        """Notices do not pile up in memory while the broker takes nothing; they are no reason to wait."""
        self.bind("a")
        self.publishing.pauseProducing()
        for _ in range(50_000):
            self.publisher.notify(DONE.name, "a")
        self.assertLess(self.publishing.outbox.unsent, 1_100_000)
