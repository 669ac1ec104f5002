"""Where failed messages go to wait, and how they are known when they come back."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.config.queue_file import QueueEntry
from provider_gateway.errors import SettingsError
from provider_gateway.message.copies import History
from provider_gateway.message.message import Message
from provider_gateway.provider.retry_route import RetryRoute
from provider_gateway.topology.checks import check_ways_back, warnings
from provider_gateway.topology.routing import matches, matching_key
from tests.unit.gateway.test_rpc import FakeDelivery

#: What a client may claim.
SPOOFED = {"pg-attempt": 99, "pg-redeliveries": 19, "pg-queue": "work", "pg-copy": "x"}


def dle(queue: str = "waiting", exchange: str = "dlx", back: str = "ML.MQ") -> dict[str, Any]:
    """``dleParams``."""
    return {
        "dleExchange": exchange,
        "dleQueue": queue,
        "dleArgs": {"x-message-ttl": 60000, "x-dead-letter-exchange": back},
    }


def entry(name: str = "work", **keys: Any) -> QueueEntry:
    """An entry of the queue file."""
    return QueueEntry.model_validate({"topic": "ML.MQ", "queueName": name, "bindingKey": "predict.*", **keys})


def seed(name: str = "work", **keys: Any) -> QueueEntry:
    """An entry with the seed's retry route."""
    return entry(name, **{"dle": True, "dleParams": dle(), **keys})


def delivery(exchange: str = "ML.MQ", routing_key: str = "predict.now", **headers: Any) -> FakeDelivery:
    """A delivery; ``pg_attempt`` stands for the header ``pg-attempt``."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return FakeDelivery(Message(b"{}", named), exchange=exchange, routing_key=routing_key)


def death(queue: str = "waiting", reason: str = "expired") -> dict[str, Any]:
    """An entry of x-death."""
    return {"queue": queue, "reason": reason, "count": 1, "exchange": "dlx", "routing-keys": ["predict.now"]}


class OwnRouteTests(SynchronousTestCase):
    """The route that each queue has without ``dleParams``."""

    def setUp(self) -> None:
        self.route = RetryRoute(entry(dle=True), [entry(dle=True)])

    def test_target(self) -> None:
        """Copies go straight to the retry queue, whatever key the message came with."""
        for key in ("predict.now", "", "elsewhere"):
            self.assertEqual(self.route.target(delivery(routing_key=key)), ("", "work.retry"))

    def test_history(self) -> None:
        """What comes through the return exchange says what happened to it before."""
        came_back = delivery("work.return", pg_attempt=3, pg_redeliveries=2)
        self.assertEqual(self.route.history(came_back), History(3, 2))

    def test_spoofed(self) -> None:
        """What a client claims counts for nothing: neither attempts nor a record of waiting."""
        for exchange in ("ML.MQ", "", "work", "other.return", "work.return2"):
            for headers in ({}, {"x-death": [death("work.retry")]}, {"x-death": [death("waiting")]}):
                self.assertEqual(self.route.history(delivery(exchange, **SPOOFED, **headers)), History(), exchange)

    def test_parameters_without_dle(self) -> None:
        """``dleParams`` without ``dle`` are no retry route, and no claim of having waited there counts."""
        plain = seed(dle=False)
        route = RetryRoute(plain, [plain])
        spoofed = delivery(**SPOOFED, **{"x-death": [death()]})
        self.assertEqual(route.history(spoofed), History())
        self.assertFalse(route.is_foreign(delivery(**{**SPOOFED, "pg-queue": "other", "x-death": [death()]})))

    def test_no_copy_is_foreign(self) -> None:
        """On such a route nobody gets copies of others, so nothing is dropped."""
        for headers in (SPOOFED, {**SPOOFED, "pg-queue": "other", "x-death": [death("other.retry")]}):
            for exchange in ("ML.MQ", "work.return", ""):
                self.assertFalse(self.route.is_foreign(delivery(exchange, **headers)))


class SeedRouteTests(SynchronousTestCase):
    """The route of ``dleParams``."""

    def setUp(self) -> None:
        self.route = RetryRoute(seed(), [seed()])

    def test_target(self) -> None:
        """A copy goes through the waiting exchange with the key that leads it back."""
        self.assertEqual(self.route.target(delivery(routing_key="predict.now")), ("dlx", "predict.now"))

    def test_key_that_would_not_lead_back(self) -> None:
        """A message that came past the exchange gets a key that the queue is bound with."""
        for exchange, key in (("", "work"), ("work.return", "")):
            self.assertEqual(self.route.target(delivery(exchange, key)), ("dlx", "predict.any"))

    def test_key_for_another_exchange(self) -> None:
        """If messages come back through another exchange than the entry's, their keys are left alone."""
        other = seed(dleParams=dle(back="other"))
        self.assertEqual(RetryRoute(other, [other]).target(delivery("", "work")), ("dlx", "work"))

    def test_history(self) -> None:
        """What has just expired in the waiting queue says what happened to it before."""
        for deaths in ([death()], [death(), death("work", "rejected")], [death(), death("other")]):
            came_back = delivery(pg_attempt=3, pg_redeliveries=1, x_death=deaths)
            self.assertEqual(self.route.history(came_back), History(3, 1))

    def test_return_exchange(self) -> None:
        """What was renewed after a redelivery comes through the return exchange, as on the other route."""
        self.assertEqual(self.route.history(delivery("work.return", pg_attempt=3)), History(3, 0))

    def test_no_record_of_waiting(self) -> None:
        """Without the broker's record that it has just expired there, a message is new."""
        for deaths in (
            None, [], "waiting", {"queue": "waiting", "reason": "expired"}, ["waiting"], [None], [{}],
            [death("other")], [death(reason="rejected")], [death(reason="maxlen")],
            [death("work", "rejected"), death()], [death("other"), death()], [{"queue": "waiting"}],
        ):  # fmt: skip
            self.assertEqual(self.route.history(delivery(**SPOOFED, x_death=deaths)), History(), repr(deaths))
        self.assertEqual(self.route.history(delivery(**SPOOFED)), History())


class ForeignCopyTests(SynchronousTestCase):
    """Copies that the seed's route scatters among queues."""

    def test_of_another_queue(self) -> None:
        """A copy of another queue's message that waited is foreign; this queue's own is not."""
        entries = [seed(), seed("other")]
        route = RetryRoute(entries[0], entries)
        self.assertTrue(route.is_foreign(delivery(pg_queue="other", x_death=[death()])))
        self.assertFalse(route.is_foreign(delivery(pg_queue="work", x_death=[death()])))

    def test_surplus(self) -> None:
        """Of an own message that waited in two queues at once, the copy out of the other queue is foreign."""
        entries = [seed(), seed("other", dleParams=dle("waiting too"))]
        route = RetryRoute(entries[0], entries)
        self.assertTrue(route.is_foreign(delivery(pg_queue="work", x_death=[death("waiting too")])))
        self.assertFalse(route.is_foreign(delivery(pg_queue="work", x_death=[death("waiting")])))

    def test_queue_without_retry(self) -> None:
        """A queue that has no seed's route itself, but shares the exchange, gets copies as well."""
        for plain in (entry("plain"), entry("plain", dle=True)):
            route = RetryRoute(plain, [seed(), plain])
            self.assertTrue(route.is_foreign(delivery(pg_queue="work", x_death=[death()])))
            self.assertTrue(route.is_foreign(delivery(pg_queue="plain", x_death=[death()])))

    def test_other_exchange(self) -> None:
        """By whatever exchange the seed's route leads back, copies of other queues' messages are known."""
        apart = entry("apart", topic="other")
        route = RetryRoute(apart, [seed(), apart])
        self.assertTrue(route.is_foreign(delivery("other", pg_queue="work", x_death=[death()])))
        alone = RetryRoute(apart, [apart, entry("work", dle=True)])
        self.assertFalse(alone.is_foreign(delivery("other", pg_queue="work", x_death=[death()])))

    def test_not_ours(self) -> None:
        """A message that is no copy of ours, or did not just expire, or came through the return exchange, is served."""
        entries = [seed(), seed("other")]
        route = RetryRoute(entries[0], entries)
        self.assertFalse(route.is_foreign(delivery(x_death=[death()])))
        self.assertFalse(route.is_foreign(delivery(pg_queue="other")))
        self.assertFalse(route.is_foreign(delivery(pg_queue="other", x_death=[death(reason="rejected")])))
        self.assertFalse(route.is_foreign(delivery("work.return", pg_queue="other", x_death=[death()])))


class MatchingKeyTests(SynchronousTestCase):
    """Keys that lead to a queue."""

    def test_matches(self) -> None:
        """The key that is made for an entry is one that its exchange routes to its queue."""
        for keys in (
            *({"bindingKey": key} for key in ("predict.*", "#", "*", "a.#", "#.b", "a.#.b", "*.*.c", "plain", "a.*.#")),
            {"bindingKey": ["x.*", "y"]},
            {"exchangeType": "direct", "bindingKey": ["k.*", "l"]},
            {"exchangeType": "fanout", "bindingKey": []},
            {"topic": "", "bindingKey": []},
        ):
            made = entry(**keys)
            self.assertTrue(matches(made, matching_key(made)), repr(keys))

    def test_keys(self) -> None:
        """Words stand for wildcards; a default exchange takes the queue's name."""
        for keys, expected in (
            ({"bindingKey": "predict.*"}, "predict.any"),
            ({"bindingKey": "a.#.b"}, "a.b"),
            ({"bindingKey": "#"}, ""),
            ({"exchangeType": "direct", "bindingKey": ["k.*", "l"]}, "k.*"),
            ({"exchangeType": "fanout", "bindingKey": ["k"]}, ""),
            ({"topic": "", "bindingKey": ["k"]}, "work"),
        ):
            self.assertEqual(matching_key(entry(**keys)), expected, repr(keys))


class WarningTests(SynchronousTestCase):
    """What is said at start."""

    def test_nothing_to_say(self) -> None:
        """Own routes, a single entry, and entries that share nothing are fine."""
        for entries in (
            [entry(dle=True), entry("other", dle=True)],
            [seed()],
            [seed(), entry("other", topic="apart")],
            [seed(), seed("other", topic="apart", dleParams=dle("w2", "dlx2", "apart"))],
            [seed(dle=False), seed("other", dle=False, dleParams=dle("w2"))],
        ):
            self.assertEqual(list(warnings(entries)), [])

    def test_shared_exchange(self) -> None:
        """Two waiting queues at one exchange: each is named, and that copies are doubled."""
        entries = [
            seed(topic="A", dleParams=dle("w1", back="A")),
            seed("other", topic="B", dleParams=dle("w2", back="B")),
        ]
        (line,) = warnings(entries)
        for part in ("'work'", "'other'", "'dlx'", "'w1'", "'w2'", "twice", "Without dleParams"):
            self.assertIn(part, line)

    def test_shared_way_back(self) -> None:
        """A way back through an exchange of other queues: those are named, for each entry that has one."""
        lines = list(warnings([seed(), entry("second"), entry("third"), entry("apart", topic="X")]))
        self.assertEqual(len(lines), 1)
        for part in ("'work'", "'ML.MQ'", "'second', 'third'", "Without dleParams"):
            self.assertIn(part, lines[0])
        self.assertNotIn("apart", lines[0])
        self.assertEqual(len(list(warnings([seed(), seed("other")]))), 2)

    def test_exchange_of_somebody_else(self) -> None:
        """An exchange that the queue is not bound to here is warned of: the way back may end there."""
        (line,) = warnings([seed(dleParams=dle(back="elsewhere"))])
        self.assertIn("'elsewhere'", line)
        self.assertIn("does not bind", line)


class GapTests(SynchronousTestCase):
    """What makes the broker drop messages by the queue file's will is said at the start."""

    def test_gaps(self) -> None:
        """Transient queues, queues that drop their oldest message, and queues that drop what waits too long."""
        for keys, part in (
            ({"durable": False}, "durable"),
            ({"argQueue": {"x-max-length": 5}}, "reject-publish"),
            ({"argQueue": {"x-max-length-bytes": 5, "x-overflow": "drop-head"}}, "reject-publish"),
            ({"argQueue": {"x-message-ttl": 5}}, "x-message-ttl"),
        ):
            (line,) = warnings([entry(**keys)])
            self.assertIn(part, line)
            self.assertIn("'work'", line)

    def test_no_gaps(self) -> None:
        """A full queue that refuses, and a dead-letter exchange, lose nothing."""
        for arguments in (
            {"x-max-length": 5, "x-overflow": "reject-publish"},
            {"x-message-ttl": 5, "x-dead-letter-exchange": "dlx"},
        ):
            self.assertEqual(list(warnings([entry(argQueue=arguments)])), [])


class WayBackTests(SynchronousTestCase):
    """A way back that surely does not lead to the queue is refused."""

    def seed(self, back: str, key: str | None, **keys: Any) -> QueueEntry:
        params = dle(back=back)
        if key is not None:
            params["dleArgs"]["x-dead-letter-routing-key"] = key
        return seed(dleParams=params, **keys)

    def test_leads_back(self) -> None:
        """The queue's own binding, its name at the default exchange, no key, or somebody else's exchange are taken."""
        for back, key in (("ML.MQ", "predict.any"), ("", "work"), ("ML.MQ", None), ("", None), ("elsewhere", "x")):
            check_ways_back([self.seed(back, key)])

    def test_leads_elsewhere(self) -> None:
        """A key that is not bound, or another queue's name, is refused, with what is wrong."""
        for back, key in (("ML.MQ", "other.key"), ("", "other")):
            error = self.assertRaises(SettingsError, check_ways_back, [self.seed(back, key)])
            for part in ("x-dead-letter-routing-key", "'work'", repr(key), repr(back)):
                self.assertIn(part, str(error))

    def test_not_used(self) -> None:
        """Without ``dle`` nothing waits there."""
        check_ways_back([self.seed("", "other", dle=False)])

    def test_default_exchange(self) -> None:
        """Through the default exchange, a copy comes back by the queue's name, whatever key it came with."""
        route = RetryRoute(self.seed("", None), [self.seed("", None)])
        self.assertEqual(route.target(delivery()), ("dlx", "work"))
