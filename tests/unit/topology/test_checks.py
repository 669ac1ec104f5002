"""The checks of the queue file: which risks are warned of at start, and which retry routes are refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.errors import SettingsError
from provider_gateway.topology.checks import check_conflicts, check_ways_back, warnings
from tests.support.queue_entries import dle, entry, seed

if TYPE_CHECKING:
    from provider_gateway.config.queue_file import QueueEntry


class WarningTests(SynchronousTestCase):
    """Warnings at start."""

    def test_nothing_to_say(self) -> None:
        """Own retry routes, a single entry, and entries that share nothing cause no warning."""
        for entries in (
            [entry(dle=True), entry("other", bindingKey="other.*", dle=True)],
            [seed()],
            [seed(), entry("other", topic="apart")],
            [seed(), seed("other", topic="apart", dleParams=dle("w2", "dlx2", "apart"))],
            [seed(dle=False), seed("other", bindingKey="other.*", dle=False, dleParams=dle("w2"))],
        ):
            self.assertEqual(list(warnings(entries, 300)), [])

    def test_shared_exchange(self) -> None:
        """Two waiting queues on one exchange: the warning names both, and says that copies are doubled."""
        entries = [
            seed(topic="A", dleParams=dle("w1", back="A")),
            seed("other", topic="B", dleParams=dle("w2", back="B")),
        ]
        (line,) = warnings(entries, 300)
        for part in ("'work'", "'other'", "'dlx'", "'w1'", "'w2'", "twice", "Without dleParams"):
            self.assertIn(part, line)

    def test_shared_way_back(self) -> None:
        """A way back through the exchange of other queues: each entry with one is warned of, and names those queues."""
        second, third = (entry(name, bindingKey=f"{name}.*") for name in ("second", "third"))
        lines = list(warnings([seed(), second, third, entry("apart", topic="X")], 300))
        self.assertEqual(len(lines), 1)
        for part in ("'work'", "'ML.MQ'", "'second', 'third'", "Without dleParams"):
            self.assertIn(part, lines[0])
        self.assertNotIn("apart", lines[0])
        self.assertEqual(len(list(warnings([seed(), seed("other", bindingKey="other.*")], 300))), 2)

    def test_exchange_of_somebody_else(self) -> None:
        """A way back through an exchange that this program does not bind is warned of: it may lead nowhere."""
        (line,) = warnings([seed(dleParams=dle(back="elsewhere"))], 300)
        self.assertIn("'elsewhere'", line)
        self.assertIn("does not bind", line)

    def test_one_binding_key(self) -> None:
        """Two queues with one binding key are warned of: each message would run twice."""
        (line,) = warnings([entry(), entry("other"), entry("apart", topic="X")], 300)
        for part in ("'work'", "'other'", "'predict.*'", "'ML.MQ'", "twice"):
            self.assertIn(part, line)


class GapTests(SynchronousTestCase):
    """Settings with which the broker drops messages are warned of at start."""

    def test_gaps(self) -> None:
        """Transient queues, queues that drop their oldest message, and queues that drop what waits too long."""
        for keys, part in (
            ({"durable": False}, "durable"),
            ({"exchangeDurable": False}, "exchangeDurable"),
            ({"argQueue": {"x-max-length": 5}}, "reject-publish"),
            ({"argQueue": {"x-max-length-bytes": 5, "x-overflow": "drop-head"}}, "reject-publish"),
            ({"argQueue": {"x-message-ttl": 5}}, "x-message-ttl"),
        ):
            (line,) = warnings([entry(**keys)], 300)
            self.assertIn(part, line)
            self.assertIn("'work'", line)

    def test_no_gaps(self) -> None:
        """A full queue that rejects publishes, and one with a dead-letter exchange, lose nothing."""
        for arguments in (
            {"x-max-length": 5, "x-overflow": "reject-publish"},
            {"x-message-ttl": 5, "x-dead-letter-exchange": "dlx"},
        ):
            self.assertEqual(list(warnings([entry(argQueue=arguments)], 300)), [])


class HeldTests(SynchronousTestCase):
    """Times with which RabbitMQ's consumer_timeout would end a channel are warned of at start."""

    def test_held_for_too_long(self) -> None:
        """The times of an entry are added, MODEL_TIMEOUT among them, and compared with the broker's limit."""
        for keys, timeout, parts in (
            ({"maxPause": 466}, 300, ("1803 s", "after 1800 s (consumer_timeout, by default)")),
            ({"maxPause": 1000, "timeout": 500}, 5, ("3605 s",)),
            ({"timeout": 1800}, 5, ("2085 s",)),
            ({}, 1800, ("2085 s",)),
            ({"argQueue": {"x-consumer-timeout": 500_000}}, 300, ("585 s", "after 500 s (x-consumer-timeout)")),
        ):
            (line,) = self.of_held(keys, timeout)
            for part in ("maxPause and timeout of 'held'", *parts):
                self.assertIn(part, line)

    def test_in_time(self) -> None:
        """What ends before the broker's limit, or before the one that the queue has, is not warned of."""
        for keys, timeout in (
            ({}, 300),
            ({"maxPause": 465}, 300),
            ({"busyTimeout": 86_400}, 300),  # it is given back before that
            ({"timeout": 5}, 1800),
            ({"maxPause": 600, "argQueue": {"x-consumer-timeout": 3_600_000}}, 300),
        ):
            self.assertEqual(self.of_held(keys, timeout), [])

    def of_held(self, keys: dict[str, Any], timeout: float) -> list[str]:
        return list(warnings([entry("held", **keys)], timeout))


class WayBackTests(SynchronousTestCase):
    """A way back that certainly does not lead to the queue is refused."""

    def seed(self, back: str, key: str | None, **keys: Any) -> QueueEntry:
        params = dle(back=back)
        if key is not None:
            params["dleArgs"]["x-dead-letter-routing-key"] = key
        return seed(dleParams=params, **keys)

    def test_leads_back(self) -> None:
        """Accepted: the queue's own binding, its name at the default exchange, no key, and an exchange of others."""
        for back, key in (("ML.MQ", "predict.now"), ("", "work"), ("ML.MQ", None), ("", None), ("elsewhere", "x")):
            check_ways_back([self.seed(back, key)])

    def test_leads_elsewhere(self) -> None:
        """An unbound key, or the name of another queue, is refused; the error says what is wrong."""
        for back, key in (("ML.MQ", "other.key"), ("", "other")):
            error = self.assertRaises(SettingsError, check_ways_back, [self.seed(back, key)])
            for part in ("x-dead-letter-routing-key", "'work'", repr(key), repr(back)):
                self.assertIn(part, str(error))

    def test_not_used(self) -> None:
        """Without ``dle`` the route is not used and not checked."""
        check_ways_back([self.seed("", "other", dle=False)])


class ConflictTests(SynchronousTestCase):
    """Objects that the file declares twice, in different ways: the broker would refuse the second declaration."""

    def test_differ(self) -> None:
        """The error names object and entries, and shows what differs."""
        for entries, parts in (
            ([entry("a"), entry("b", exchangeType="direct")], ("exchange 'ML.MQ'", "'a' and 'b'", "topic", "direct")),
            (
                [entry("a"), entry("b", exchangeDurable=False)],
                ("exchange 'ML.MQ'", "durable, topic", "transient, topic"),
            ),
            ([entry("a", replyTo="r"), entry("b", replyTo="r", durable=False)], ("queue 'r'", "durable", "transient")),
            ([entry("a", dle=True), entry("a.retry", topic="T")], ("queue 'a.retry'", "x-message-ttl: 60000")),
            ([seed("a"), seed("b", durable=False)], ("queue 'waiting'", "transient")),
            ([seed("a", dleParams=dle(exchange="ML.MQ"))], ("exchange 'ML.MQ'", "of 'a'", "topic", "fanout")),
            ([seed("a", dleParams=dle(queue="a"))], ("queue 'a'", "x-message-ttl")),
            ([seed("a", dleParams=dle(queue="a.parking"))], ("queue 'a.parking'",)),
            ([entry("a"), entry("b", topic="a.return")], ("exchange 'a.return'", "fanout", "topic")),
            ([entry("a", argQueue={"x-max-length": 5}), entry("b", replyTo="a")], ("queue 'a'", "x-max-length: 5")),
        ):
            error = self.assertRaises(SettingsError, check_conflicts, entries)
            for part in parts:
                self.assertIn(part, str(error))

    def test_agree(self) -> None:
        """Objects that entries share in the same way are no conflict; nor are a queue and an exchange of one name."""
        for entries in (
            [entry("a", replyTo="r"), entry("b", replyTo="r")],
            [entry("a", replyTo="r", durable=False), entry("b", replyTo="r", durable=False)],
            [entry("a", parkingQueue="p"), entry("b", parkingQueue="p")],
            [seed("a"), seed("b")],
            [entry("ML.MQ")],
            [entry("a", replyTo="b"), entry("b")],
        ):
            check_conflicts(entries)
