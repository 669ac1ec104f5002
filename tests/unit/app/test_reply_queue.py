"""The reply queue of an instance: who deletes it, and when it has to stay."""

from __future__ import annotations

from typing import Any

from pika.exceptions import ChannelClosedByBroker
from twisted.internet.error import CannotListenError

from provider_gateway.amqp.consumer import Consumer
from provider_gateway.amqp.session import Session
from tests.support.observability import collect_log
from tests.support.service import HTTP, ServiceTestCase


class ReplyQueueTestCase(ServiceTestCase):
    """A process whose reply queue can be looked for."""

    def reply_queues(self) -> list[str]:
        """The reply queues at the broker."""
        return [name for name in self.broker.vhost.queues if name not in ("back", "work", "work.retry", "work.parking")]

    def stop(self) -> None:
        """Stop the process in order, which may take the time of the drain."""
        stopped = self.service.stopService()
        self.pump()
        self.advance(30)
        self.successResultOf(stopped)


class EndTests(ReplyQueueTestCase):
    """A process that is stopped in order."""

    def test_deleted(self) -> None:
        """An end in order deletes the queue: an idle process, one that has served, one that serves a last request."""
        for calls in range(3):
            if calls:
                self.begin()
            self.assertEqual(1, len(self.reply_queues()))
            clients = [self.post() for _ in range(calls)]
            if calls == 1:
                self.answer()
            stopped = self.service.stopService()
            self.pump()
            if calls == 2:
                self.assertEqual(1, len(self.reply_queues()))
                self.answer(number=-2)
                self.answer(number=-1)
            self.assertEqual([200] * calls, [self.answered(client).status for client in clients])
            self.advance(30)
            self.successResultOf(stopped)
            self.assertEqual([], self.reply_queues())
        self.assert_settled()

    def test_late_replies(self) -> None:
        """While a reply to a request that was given up may come, the queue stays, and the broker deletes it later.

        The message is answered and not parked.
        """
        client = self.post()
        self.answer(500)
        client.leave()
        logged = collect_log(self)
        self.stop()
        self.assertEqual(1, len(self.reply_queues()))
        self.assertTrue([each for each in logged if "is left to expire: late" in each.get("log_format", "")])
        self.begin()
        self.advance(29)
        self.answer()
        self.assertEqual((0, 2), (self.waiting("work.parking"), len(self.reply_queues())))
        self.stop()
        self.advance(600)
        self.assertEqual([], self.reply_queues())
        self.assert_settled()

    def test_late_replies_that_came(self) -> None:
        """The queue is deleted once the late reply is there, or cannot be expected any more."""
        client = self.post()
        client.leave()
        self.answer()
        self.stop()
        self.assertEqual([], self.reply_queues())
        self.begin(reply_queue_expires=100)
        for _ in range(3):
            client = self.post()
        client.leave()  # its message is dropped: there is no reply
        self.answer(number=-2)
        self.answer(number=-1)
        self.advance(100)
        self.stop()
        self.assertEqual([], self.reply_queues())

    def test_abandoned(self) -> None:
        """A request that is given up at the end of the drain may get its reply: the queue stays."""
        client = self.post()
        self.stop()
        self.assertEqual((504, 1), (self.answered(client).status, len(self.reply_queues())))

    def test_without_broker(self) -> None:
        """Without a connection the process ends as usual; the broker deletes the queue."""
        self.is_up = False
        self.break_connections()
        self.stop()
        self.assertEqual((1, []), (len(self.reply_queues()), self.flushLoggedErrors()))
        self.advance(600)
        self.assertEqual([], self.reply_queues())

    def test_deleted_by_others(self) -> None:
        """A queue that somebody has deleted, or consumes, is no error."""
        (name,) = self.reply_queues()
        self.delete(name)
        self.pump()
        self.stop()
        self.assertEqual([], self.reply_queues())
        self.begin()
        (name,) = self.reply_queues()
        self.run_(self.consume(name))
        self.stop()
        self.assertEqual(([name], []), (self.reply_queues(), self.flushLoggedErrors()))

    async def consume(self, name: str) -> None:
        """Consume a queue as another program."""
        await self.other().basic_consume(name)

    def test_expires(self) -> None:
        """After a crash the broker deletes the queue when ``REPLY_QUEUE_EXPIRES`` is over."""
        self.stop()
        self.begin(reply_queue_expires=30.5)
        self.is_up = False
        self.break_connections()
        self.advance(30.4)
        self.assertEqual(1, len(self.reply_queues()))
        self.advance(0.2)
        self.assertEqual([], self.reply_queues())


class FailedStartTests(ReplyQueueTestCase):
    """A start that fails leaves no queue: orchestrators would repeat it, and collect queues."""

    def setUp(self) -> None:
        super().setUp()
        self.stop()
        self.assertEqual([], self.reply_queues())

    def test_mismatch(self) -> None:
        """A work queue with other arguments is fatal, and the process ends without a reply queue."""
        for queue in ("work", "work.retry", "work.parking"):
            self.delete(queue)
            self.make_queue(queue, **{"x-max-length": 7})
            self.fatal.clear()
            self.begin_to_start()
            self.assertEqual([True], ["inequivalent arg" in line for line in self.fatal], queue)
            self.stop()
            self.assertEqual([], self.reply_queues())
            self.delete(queue)

    def test_port_in_use(self) -> None:
        """So does a listener that cannot be opened when the connections are up."""
        listen = self.clock.listenTCP

        def refuse(port: int, *arguments: Any, **more: Any) -> Any:
            if port == HTTP:
                raise CannotListenError("0.0.0.0", port, OSError(98, "Address already in use"))
            return listen(port, *arguments, **more)

        self.patch(self.clock, "listenTCP", refuse)
        self.begin_to_start()
        self.assertIn("HTTP_PORT: cannot listen on ", self.fatal[0])
        self.stop()
        self.assertEqual([], self.reply_queues())

    def test_not_consumed(self) -> None:
        """A start that is repeated since the queue cannot be consumed leaves none between the attempts."""
        open_consumer = Consumer.open

        async def refuse(consumer: Consumer, session: Any) -> None:
            await open_consumer(consumer, session)
            if consumer.queue not in ("work",):
                await consumer.cancel()
                raise ChannelClosedByBroker(403, "ACCESS_REFUSED - access to queue refused")

        self.patch(Consumer, "open", refuse)
        self.begin_to_start()
        self.assertEqual([], self.reply_queues())
        self.stop()
        self.assertEqual([], self.reply_queues())

    def test_stopped_during_the_start(self) -> None:
        """A process that is stopped before it is ready leaves none, wherever its start has got."""
        receive = Session.dataReceived
        left = 0
        stopped: list[Any] = []

        def receive_and_stop(session: Session, data: bytes) -> None:
            nonlocal left
            receive(session, data)
            left -= 1
            if not left:
                self._accepted = len(self.clock.tcpClients)  # what has not connected by now never does
                self.service.stopService().addCallback(stopped.append)

        self.patch(Session, "dataReceived", receive_and_stop)
        reads = 0
        while len(stopped) == reads:
            reads += 1
            left = reads
            self.begin_to_start()
            self.advance(30)
            self.assertEqual([], self.reply_queues() if len(stopped) == reads else [], reads)
        self.assertGreater(reads, 10)
