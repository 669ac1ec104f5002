"""A model that is busy or away: messages are held or given back, uncounted, and nothing is parked."""

from __future__ import annotations

from typing import Any, ClassVar

from twisted.logger import formatEvent

from provider_gateway.message.copies import PG_HELD
from tests.support.observability import collect_log, counted
from tests.support.provider_on_broker import ProviderOnBrokerTestCase


class BusyTests(ProviderOnBrokerTestCase):
    """The model answers 429 or 503."""

    keys: ClassVar[dict[str, Any]] = {"dle": True, "maxAttempts": 3, "busyTimeout": 40, "maxPause": 20}

    def refuse(self, wait: float | None = None, number: int = -1) -> None:
        self.model.refuse(wait, number)
        self.pump()

    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.pump()

    def calls(self) -> int:
        return len(self.model.calls)

    def test_held(self) -> None:
        """A refused message stays unacknowledged, is sent again after the pause, and has used up no attempt."""
        self.ask()
        self.assertTrue(self.model.may_repeat)  # dle would repeat it
        self.refuse(7)
        self.assert_left(unacked=1)
        self.wait(6.9)
        self.assertEqual(1, self.calls())
        self.wait(0.1)
        self.assertEqual(2, self.calls())
        self.answer()
        self.assert_left(back=1)
        self.assertEqual((1, 0), (counted(self.metrics.model_requests, "work", "busy"), self.parked("busy")))

    def test_log(self) -> None:
        """The first pause is logged with its reason, and no other one within a minute."""
        lines = collect_log(self)
        self.ask()
        for _ in range(3):
            self.refuse(5)
            self.wait(5)
        self.answer()
        said = [(line["log_level"].name, formatEvent(line)) for line in lines]
        self.assertEqual(said, [("info", "work: calls of the model pause: The model answered with HTTP status 503.")])

    def test_many_refusals(self) -> None:
        """More refusals than there are attempts do no harm."""
        self.ask()
        for _ in range(5):
            self.refuse(5)
            self.wait(5)
        self.answer()
        self.assert_left(back=1)

    def test_busy_for_too_long(self) -> None:
        """After busyTimeout, the refusal is a failure. The next attempt has the whole time again."""
        self.ask()
        for attempt in range(3):
            for _ in range(3):
                self.refuse(19)
                self.assert_left(unacked=1)
                self.wait(19)
            self.refuse(19)
            if attempt < 2:
                self.assert_left(retry=1)
                self.wait(60)
        self.assert_left(parking=1, back=1)
        parked = self.taken("work.parking")
        self.assertEqual(("busy", 3), (parked.headers["pg-reason"], parked.headers["pg-attempt"]))
        self.assertNotIn(PG_HELD, parked.headers)
        self.assertEqual("busy", self.taken("back").headers["pg-reason"])

    def test_given_back_at_the_end(self) -> None:
        """At the end of the process, a held message goes back to its queue, with the time for which it was held."""
        self.ask(headers={"RqUID": "r1", "pg-deadline": 50_000, "x-a": "b"})
        self.refuse(15)
        self.wait(3)
        self.run_(self.consumer.cancel())
        self.gate.stop()
        self.pump()
        self.successResultOf(self.provider.idle())
        self.assert_left(ready=1)
        message = self.taken("work")
        self.assertEqual(b"{}", message.body)
        self.assertEqual(("m", "c1", "back"), (message.message_id, message.correlation_id, message.reply_to))
        told = {name: message.headers.get(name) for name in ("pg-attempt", "pg-redeliveries", "pg-held", "pg-deadline")}
        self.assertEqual({"pg-attempt": 1, "pg-redeliveries": 0, "pg-held": 3000, "pg-deadline": 50_000}, told)
        self.assertEqual("b", message.headers["x-a"])

    def test_held_in_several_processes(self) -> None:
        """The time for which a message is held counts over all processes that held it."""
        self.ask()
        for _ in range(3):
            self.refuse(15)
            self.wait(12)
            self.run_(self.consumer.cancel())
            self.gate.stop()
            self.pump()
            self.lose(self.consuming)
            self.begin()
        self.wait(5)
        self.refuse(15)  # held for 36 s
        self.assert_left(unacked=1)
        self.wait(15)
        self.refuse(15)
        self.assert_left(retry=1)

    def test_expired_meanwhile(self) -> None:
        """A message whose caller has given up in the pause is dropped, and the model is not called for it."""
        self.ask()
        self.refuse(10)
        self.given_up.add("c1")
        self.wait(10)
        self.assertEqual((1, 1), (self.calls(), counted(self.metrics.expired, "work")))
        self.assert_left()

    def test_connection_lost_meanwhile(self) -> None:
        """A held message whose connection was lost is delivered again, recognised, and called once after the pause."""
        self.ask()
        self.refuse(10)
        self.reconnect()
        self.assertEqual(1, counted(self.metrics.redelivered, "work", "running"))
        self.wait(10)
        self.assertEqual(2, self.calls())
        self.answer()
        self.assert_left(back=1)

    def test_connection_lost_without_an_id(self) -> None:
        """A message that cannot be recognised is served once after its connection was lost in the pause."""
        self.ask(message_id=None)
        self.refuse(10)
        self.reconnect()
        self.wait(10)
        self.assertEqual(2, self.calls())
        self.answer()
        self.assert_left(back=1)

    def test_no_suspect(self) -> None:
        """A message that was held and given back many times is no suspect, and is not parked as redelivered."""
        self.ask()
        for _ in range(25):
            self.refuse(1)
            self.run_(self.consumer.cancel())
            self.gate.stop()
            self.pump()
            self.lose(self.consuming)
            self.begin()
        self.answer()
        self.assert_left(back=1)
        self.assertEqual(0, counted(self.metrics.redelivered, "work", "unknown"))


class QuorumBusyTests(BusyTests):
    """The same with quorum queues, which count deliveries themselves."""

    keys: ClassVar[dict[str, Any]] = {**BusyTests.keys, "queueType": "quorum"}


class WithoutRetryTests(ProviderOnBrokerTestCase):
    """The same without ``dle``."""

    keys: ClassVar[dict[str, Any]] = {"busyTimeout": 40}

    def test_held(self) -> None:
        """A refused message is held, too; after busyTimeout its caller gets the error. No call is sent twice."""
        self.ask()
        self.assertFalse(self.model.may_repeat)
        for _ in range(2):
            self.model.refuse(20)
            self.assert_left(unacked=1)
            self.clock.advance(20)
            self.pump()
        self.model.refuse(20)
        self.pump()
        self.assert_left(back=1)
        self.assertEqual("busy", self.taken("back").headers["pg-reason"])


class AwayTests(ProviderOnBrokerTestCase):
    """No connection to the model can be made."""

    def be_away(self, *numbers: int) -> None:
        for number in numbers or (-1,):
            self.model.be_away(number)
        self.pump()

    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.pump()

    def ask_many(self, count: int, first: int = 0) -> None:
        for number in range(first, first + count):
            self.ask(message_id=f"m{number}", correlation_id=f"c{number}")

    def answer_all(self) -> None:
        """Answer until nothing is left to call."""
        while waiting := [number for number, call in enumerate(self.model.calls) if not call[2].called]:
            self.answer(number=waiting[0])

    def test_log(self) -> None:
        """That the model is away is logged once, with the reason, whatever many probes find; so is that it is back."""
        lines = collect_log(self)
        self.ask_many(8)
        self.be_away(*range(8))
        for _ in range(5):
            self.wait(15)
            self.be_away()
        self.wait(15)
        self.answer_all()
        said = [(line["log_level"].name, formatEvent(line)) for line in lines if "model" in formatEvent(line)]
        self.assertEqual(
            said,
            [
                ("info", "work: calls of the model pause: The model cannot be reached."),
                ("warn", "work: the model is away: The model cannot be reached."),
                ("info", "work: the model takes calls again"),
            ],
        )

    def test_given_back(self) -> None:
        """After five calls without a connection, nothing is consumed, and all messages are in the queue, uncounted."""
        self.ask_many(20)
        self.be_away(*range(20))
        self.ask_many(10, 20)
        self.assertEqual((30, 20), (self.waiting("work") + self.unacked("work"), len(self.model.calls)))
        self.assertLessEqual(self.unacked("work"), 1)  # the probe
        for message in self.take("work")[:10]:
            self.assertEqual(0, message.headers.get("pg-redeliveries", 0))
            self.assertFalse(message.headers.get("x-delivery-count"))

    def test_back(self) -> None:
        """When the model is back, all messages are answered, each by one call more; none used up an attempt."""
        self.ask_many(20)
        self.be_away(*range(20))
        self.ask_many(10, 20)
        for _ in range(10):  # ten probes
            self.wait(15)
            self.assertLessEqual(sum(not call[2].called for call in self.model.calls), 1)
            self.be_away()
        self.wait(15)
        self.answer_all()
        self.assert_left(back=30)
        self.assertEqual(30, len({message.correlation_id for message in self.take("back")}))
        self.assertEqual(20 + 10 + 30, len(self.model.calls))

    def test_reconnected(self) -> None:
        """After a reconnection, a queue whose model is away is still not consumed."""
        self.ask_many(20)
        self.be_away(*range(20))
        self.reconnect()
        self.assertTrue(self.consumer.is_registered)
        self.ask_many(10, 20)
        self.assertEqual(20, len(self.model.calls))
        self.wait(15)
        self.answer_all()
        self.assert_left(back=30)

    def test_drained(self) -> None:
        """A drain while the model is away leaves all messages in the queue."""
        self.ask_many(20)
        self.be_away(*range(20))
        self.run_(self.consumer.cancel())
        self.gate.stop()
        self.pump()
        self.successResultOf(self.provider.idle())
        self.assert_left(ready=20)


class QuorumAwayTests(AwayTests):
    """The same with quorum queues."""

    keys: ClassVar[dict[str, Any]] = {**AwayTests.keys, "queueType": "quorum"}
