"""Deliveries for whose bodies there is no room: given back, and consumed later, without loss and without suspicion."""

from __future__ import annotations

from tests.support.observability import counted
from tests.support.provider_on_broker import ProviderOnBrokerTestCase


class IntakeTests(ProviderOnBrokerTestCase):
    """A provider with room for 1,000 bytes."""

    room = 1000

    def ask_many(self, count: int, size: int) -> None:
        for number in range(count):
            self.ask(b"x" * size, message_id=f"m{number}", correlation_id=f"c{number}")

    def held(self) -> int:
        return sum(len(message.body) for message, *_ in self.model.calls) - sum(
            len(message.body) for message, _, answer in self.model.calls if answer.called
        )

    def answer_all(self) -> None:
        """Answer until nothing is left to call."""
        while waiting := [number for number, call in enumerate(self.model.calls) if not call[2].called]:
            self.assertLessEqual(self.held(), self.room)
            self.answer(number=waiting[0])

    def test_bounded(self) -> None:
        """No more than the room is in work. All messages are served once, as if the first delivery were this one."""
        self.ask_many(20, 200)
        self.assertEqual((5, 1000, 5), (len(self.model.calls), self.held(), self.unacked("work")))
        self.assertEqual(15, self.waiting("work"))
        self.answer_all()
        self.assertEqual({f"c{number}" for number in range(20)}, {call[0].correlation_id for call in self.model.calls})
        self.assertEqual(20, len(self.model.calls))
        self.assert_left(back=20)
        self.assertEqual(20, counted(self.metrics.consumed, "work"))

    def test_alone(self) -> None:
        """A body that is larger than the room is served alone."""
        self.ask_many(3, 900)
        self.assertEqual(1, len(self.model.calls))
        self.answer_all()
        self.assert_left(back=3)

    def test_small_again(self) -> None:
        """With small bodies the whole prefetch is used again."""
        self.ask_many(20, 200)
        self.answer_all()
        for number in range(60):
            self.ask(b"1", message_id=f"s{number}")
            self.answer_all()
        self.ask_many(90, 1)
        self.assertEqual(90, self.unacked("work"))

    def test_reconnected_in_a_pause(self) -> None:
        """After the loss of the connection in a pause, everything is served."""
        self.ask_many(20, 200)
        self.reconnect()
        self.answer_all()
        self.assert_left(back=20)
        self.assertTrue(self.consumer.is_registered)

    def test_channel_closed_in_a_pause(self) -> None:
        """If the broker closes the consuming channel in a pause, the consumer is opened again."""
        self.ask_many(20, 200)
        channel = self.consumer._channel
        assert channel is not None
        refused = channel.channel.queue_declare("missing", passive=True)
        self.pump()
        self.failureResultOf(refused)
        self.answer_all()
        self.clock.advance(1)
        self.pump()
        self.answer_all()
        self.assert_left(back=20)

    def test_drained_in_a_pause(self) -> None:
        """A drain in a pause ends with the messages in work; the others stay in the queue."""
        self.ask_many(20, 200)
        self.run_(self.consumer.cancel())
        self.answer_all()
        self.successResultOf(self.provider.idle())
        self.assertEqual((5, 15), (len(self.model.calls), self.waiting("work")))

    def test_drained_as_it_goes_on(self) -> None:
        """A drain at the moment at which a pause ends: what is in work is still acknowledged."""
        self.ask_many(20, 200)
        self.consumer.consume_with(1)
        self.run_(self.consumer.cancel())
        self.answer_all()
        self.successResultOf(self.provider.idle())
        self.assert_left(back=5, ready=15)
