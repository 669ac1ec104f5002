"""Messages that are held or given back while their model takes no calls: none stays for ever, and none stops others."""

from __future__ import annotations

from typing import Any, ClassVar

from provider_gateway.message.copies import PG_HELD, PG_REDELIVERIES
from provider_gateway.provider.model_gate import State
from tests.support.observability import counted
from tests.support.provider_on_broker import ProviderOnBrokerTestCase


class HeldTestCase(ProviderOnBrokerTestCase):
    """Messages ``m0``, ``m1`` ..."""

    def ask_many(self, count: int, **properties: Any) -> None:
        for number in range(count):
            self.ask(**{"message_id": f"m{number}", "correlation_id": f"c{number}", **properties})

    def open_calls(self) -> list[int]:
        return [number for number, call in enumerate(self.model.calls) if not call[2].called]

    def fall_away(self) -> None:
        """No connection can be made for the calls that are open."""
        for number in self.open_calls():
            self.model.be_away(number)
        self.pump()
        self.assertIs(self.gate.state, State.AWAY)

    def fall_back(self) -> None:
        """The same, for a while."""
        for number in self.open_calls():
            self.model.be_away(number)
        self.wait(10)

    def answer_all(self, seconds: float = 15) -> None:
        """Let some seconds pass, and answer until no call is open."""
        self.wait(seconds)
        while calls := self.open_calls():
            self.answer(number=calls[0])

    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.pump()


class StayTests(HeldTestCase):
    """How long one process holds a message."""

    keys: ClassVar[dict[str, Any]] = {"dle": True, "maxPause": 20, "busyTimeout": 600}

    def test_probe_is_given_back(self) -> None:
        """No message is the probe for long: the broker would close the channel, and count that, after 30 minutes."""
        self.ask_many(6)
        self.fall_away()
        probes: dict[str | None, list[int]] = {}
        for now in range(600):
            self.wait(1)
            self.assertLessEqual(self.unacked("work"), 1)
            for number in self.open_calls():
                probes.setdefault(self.model.calls[number][0].message_id, []).append(now)
                self.model.be_away(number)
                self.pump()
        self.assertEqual(set(probes), {f"m{number}" for number in range(6)})
        self.answer_all()
        self.assert_left(back=6)
        self.assertEqual(counted(self.metrics.redelivered, "work", "unknown"), 0)

    def test_reconnected_each_time(self) -> None:
        """However often the connection is lost while a message is the probe, that does not count as come back.

        Without an id, the first loss does: the message is delivered again while its lost delivery still waits.
        """
        for message_id in ("m", None):
            self.ask(message_id=message_id)
            self.fall_back()
            for _ in range(30):
                self.reconnect()
                self.fall_back()
            self.answer_all(30)
            self.assert_left(back=1)
            self.assertEqual(counted(self.metrics.parked, "work", "redelivered"), 0)
            reply = self.taken("back")
            self.assertEqual(reply.headers["pg-status"], 200)
            counts = self.model.calls[-1][0].headers.get(PG_REDELIVERIES, 0)
            self.assertLessEqual(counts, 0 if message_id else 1)


class OnePlaceTests(HeldTestCase):
    """A prefetch of 1."""

    keys: ClassVar[dict[str, Any]] = {"dle": True, "prefetch": 1}

    def test_refused_each_time(self) -> None:
        """A message that is refused each time does not keep the only place: others are served before busyTimeout."""
        self.consumer.consume_with(1)
        self.pump()
        self.ask_many(2)
        served: list[int] = []
        for _ in range(100):
            self.wait(1)
            for number in self.open_calls():
                if self.model.calls[number][0].message_id == "m0":
                    self.model.refuse(None, number)
                    self.pump()
                else:
                    self.answer(number=number)
                    served.append(number)
        self.assertEqual(len(served), 1)


class AwayTimeTests(HeldTestCase):
    """The time for which a message is held for a busy model."""

    keys: ClassVar[dict[str, Any]] = {"busyTimeout": 30, "maxPause": 60}

    def test_away_is_not_busy(self) -> None:
        """The time for which the model is away does not count for busyTimeout."""
        self.ask()
        self.model.refuse(None)
        self.pump()
        for _ in range(6):
            self.wait(10)
            for number in self.open_calls():
                self.model.be_away(number)
            self.pump()
        self.wait(15)
        self.model.refuse(None)
        self.pump()
        self.assert_left(unacked=1)
        self.answer_all()
        self.assert_left(back=1)


class FullQueueTests(HeldTestCase):
    """The work queue is full, and takes no copies."""

    keys: ClassVar[dict[str, Any]] = {
        "dle": True,
        "argQueue": {"x-max-length": 10, "x-overflow": "reject-publish"},
    }
    message_id: ClassVar[dict[str, Any]] = {}

    def test_full(self) -> None:
        """What is given back goes to the queue all the same, and is served when the model is back.

        A process that holds it, waits for room in the queue, and consumes nothing would wait for ever.
        """
        self.ask_many(60, **self.message_id)
        self.fall_away()
        self.ask_many(10, message_id="late", correlation_id="late")
        self.assertLessEqual(self.unacked("work"), 1)  # the probe
        self.assertEqual(self.reliable.waiting_for(), [])
        self.answer_all()
        self.assert_left(back=60)
        self.assertEqual(self.parked("redelivered"), 0)


class FullQueueWithoutIdsTests(FullQueueTests):
    """The same with messages that have no id: when they come back to the same process, they do not count either."""

    message_id: ClassVar[dict[str, Any]] = {"message_id": None}


class FullQuorumQueueTests(FullQueueTests):
    """The same with a quorum queue."""

    keys: ClassVar[dict[str, Any]] = {**FullQueueTests.keys, "queueType": "quorum"}


class ManyTests(HeldTestCase):
    """Many messages end at once."""

    keys: ClassVar[dict[str, Any]] = {"dle": True, "prefetch": 500}

    def test_expired(self) -> None:
        """Hundreds of messages that expired in a pause are dropped in one go, one after the other: no recursion."""
        self.consumer.consume_with(500)
        self.pump()
        self.ask_many(400)
        for number in self.open_calls():
            self.model.refuse(10, number)
        self.pump()
        self.given_up.update(f"c{number}" for number in range(400))
        self.wait(10)
        self.assert_left()
        self.assertEqual(counted(self.metrics.expired, "work"), 400)


class SuspectTests(HeldTestCase):
    """Suspects while the model is away."""

    keys: ClassVar[dict[str, Any]] = {"dle": True, "queueType": "classic"}

    def test_given_back(self) -> None:
        """Suspects that wait for their turn are given back after a minute, with their count."""
        self.ask_many(4)
        for _ in range(3):
            self.die()
        self.wait(1)
        self.assertEqual(len(self.open_calls()), 1)  # one at a time
        for _ in range(12):
            self.fall_back()
        self.assertLessEqual(self.unacked("work"), 1)
        for message in self.take("work"):
            self.assertGreaterEqual(message.headers[PG_REDELIVERIES], 3)
            self.assertNotIn(PG_HELD, message.headers)


class QuorumSuspectTests(SuspectTests):
    """The same with a quorum queue, which counts from 0 when it gets a copy."""

    keys: ClassVar[dict[str, Any]] = {"dle": True, "queueType": "quorum"}
