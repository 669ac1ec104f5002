"""Where copies of failed messages wait, and how they are recognised when they come back."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.message.copies import History
from provider_gateway.message.message import Message
from provider_gateway.provider.retry_route import RetryRoute
from tests.support.fakes import FakeDelivery
from tests.support.queue_entries import dle, entry, seed
from tests.unit.provider.base import death, waited

#: Headers that an initiator may write.
SPOOFED = {"pg-attempt": 99, "pg-redeliveries": 19, "pg-queue": "work", "pg-copy": "x"}


def delivery(exchange: str = "ML.MQ", routing_key: str = "predict.now", **headers: Any) -> FakeDelivery:
    """A delivery; ``pg_attempt`` stands for the header ``pg-attempt``."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return FakeDelivery(Message(b"{}", named), exchange=exchange, routing_key=routing_key)


class OwnRouteTests(SynchronousTestCase):
    """The route that each queue has without ``dleParams``."""

    def setUp(self) -> None:
        self.route = RetryRoute(entry(dle=True), [entry(dle=True)])

    def test_target(self) -> None:
        """A copy goes straight to the retry queue, whatever routing key the message came with."""
        for key in ("predict.now", "", "elsewhere"):
            self.assertEqual(self.route.target(delivery(routing_key=key)), ("", "work.retry"))

    def test_history(self) -> None:
        """The headers of a message that came through the return exchange are its history."""
        came_back = delivery("work.return", pg_attempt=3, pg_redeliveries=2)
        self.assertEqual(self.route.history(came_back), History(3, 2))

    def test_spoofed(self) -> None:
        """An initiator's headers are no history: neither attempts nor ``x-death``."""
        for exchange in ("ML.MQ", "", "work", "other.return", "work.return2"):
            for headers in ({}, waited(death("work.retry")), waited(death("waiting"))):
                self.assertEqual(self.route.history(delivery(exchange, **SPOOFED, **headers)), History(), exchange)

    def test_parameters_without_dle(self) -> None:
        """``dleParams`` without ``dle`` are no retry route, and ``x-death`` of its queue is no proof."""
        plain = seed(dle=False)
        route = RetryRoute(plain, [plain])
        spoofed = delivery(**SPOOFED, **waited())
        self.assertEqual(route.history(spoofed), History())
        self.assertFalse(route.is_foreign(delivery(**{**SPOOFED, "pg-queue": "other", **waited()})))

    def test_no_copy_is_foreign(self) -> None:
        """On this route no queue gets copies of other queues' messages, so none is foreign."""
        for headers in (SPOOFED, {**SPOOFED, "pg-queue": "other", **waited(death("other.retry"))}):
            for exchange in ("ML.MQ", "work.return", ""):
                self.assertFalse(self.route.is_foreign(delivery(exchange, **headers)))


class SeedRouteTests(SynchronousTestCase):
    """The route of ``dleParams``."""

    def setUp(self) -> None:
        self.route = RetryRoute(seed(), [seed()])

    def test_target(self) -> None:
        """A copy goes through the exchange of ``dleParams``, with the key that brings it back."""
        self.assertEqual(self.route.target(delivery(routing_key="predict.now")), ("dlx", "predict.now"))

    def test_key_that_would_not_lead_back(self) -> None:
        """If a message did not come through the entry's exchange, its copy gets a key of the queue's binding."""
        for exchange, key in (("", "work"), ("work.return", "")):
            self.assertEqual(self.route.target(delivery(exchange, key)), ("dlx", "predict.now"))

    def test_way_back_through_the_default_exchange(self) -> None:
        """If copies come back through the default exchange, their key is the queue's name."""
        default = seed(dleParams=dle(back=""))
        self.assertEqual(RetryRoute(default, [default]).target(delivery()), ("dlx", "work"))

    def test_key_for_another_exchange(self) -> None:
        """If copies come back through another exchange than the entry's, they keep their key."""
        other = seed(dleParams=dle(back="other"))
        self.assertEqual(RetryRoute(other, [other]).target(delivery("", "work")), ("dlx", "work"))

    def test_history(self) -> None:
        """The headers of a message that has just expired in the queue of ``dleParams`` are its history."""
        for since_4 in (False, True):
            for deaths in ([death()], [death(), death("work", "rejected")], [death(), death("other")]):
                came_back = delivery(pg_attempt=3, pg_redeliveries=1, **waited(*deaths, since_4=since_4))
                self.assertEqual(self.route.history(came_back), History(3, 1))

    def test_rejected_by_another_program(self) -> None:
        """A copy that another program with the same queue rejected has waited again, and keeps its history.

        The first death is our copy's wait, and each further wait has a rejection before it.
        """
        for times in (1, 2, 7):
            again = [{**death(), "count": 1 + times}, {**death("work", "rejected"), "count": times}]
            for last in ({}, {f"x-last-death-{name}": death()[name] for name in ("queue", "reason", "exchange")}):
                came_back = delivery(pg_attempt=3, **{**waited(), "x-death": again, **last})
                self.assertEqual(self.route.history(came_back), History(3, 0), times)

    def test_forged_record(self) -> None:
        """A record that RabbitMQ would not write is a client's: no history, and no foreign copy."""
        since_4 = waited(since_4=True)
        counts = (None, 0, -1, 2, 6, 2**62, -(2**63), True, 1.0, "1", [1])
        forged = [{**waited(), "x-death": [{**death(), "count": count}]} for count in counts]
        forged += [
            {**waited(), "x-death": [{**death(), "count": 3}, death("work", "rejected")]},
            {**waited(), "x-death": [death(), {**death("work", "rejected"), "count": "many"}]},
            {**waited(), "x-death": [death(), "work"]},
            {**waited(), "x-death": [{**death(), "exchange": "ML.MQ"}]},
            waited({**death(), "exchange": "ML.MQ"}),
            waited({**death(), "exchange": None}),
            {"x-death": [death()]},
        ]
        for name in since_4:
            if name != "x-death":
                forged += [{**since_4, name: wrong} for wrong in ("other", "", 1, None, ["waiting"], {"waiting": 1})]
                forged.append({**since_4, name: None})
        forged += [{name: value for name, value in since_4.items() if name != left_out} for left_out in since_4]
        for headers in forged:
            self.assertEqual(self.route.history(delivery(**SPOOFED, **headers)), History(), headers)
            self.assertFalse(self.route.is_foreign(delivery(**{**SPOOFED, "pg-queue": "other"}, **headers)), headers)

    def test_other_ways(self) -> None:
        """A message that did not come through the exchange of the way back is a client's, whatever it says."""
        for exchange in ("", "dlx", "other", "other.return", "amq.topic"):
            self.assertEqual(self.route.history(delivery(exchange, **SPOOFED, **waited())), History(), exchange)
            spoofed = delivery(exchange, **{**SPOOFED, "pg-queue": "other"}, **waited())
            self.assertFalse(self.route.is_foreign(spoofed), exchange)

    def test_exchange_of_its_own(self) -> None:
        """If the way back is an exchange of its own, what clients publish to the entry's exchange has no history."""
        apart = seed(dleParams=dle(back="back"))
        route = RetryRoute(apart, [apart])
        self.assertEqual(route.history(delivery("back", pg_attempt=3, **waited())), History(3, 0))
        self.assertEqual(route.history(delivery("ML.MQ", **SPOOFED, **waited())), History())
        self.assertFalse(route.is_foreign(delivery("ML.MQ", **{**SPOOFED, "pg-queue": "other"}, **waited())))

    def test_key_of_its_own(self) -> None:
        """If the broker replaces the routing key on the way back, a message with another one is a client's."""
        keyed = dle()
        keyed["dleArgs"]["x-dead-letter-routing-key"] = "predict.again"
        entry_ = seed(dleParams=keyed)
        route = RetryRoute(entry_, [entry_])
        self.assertEqual(route.history(delivery(routing_key="predict.again", pg_attempt=3, **waited())), History(3, 0))
        self.assertEqual(route.history(delivery(routing_key="predict.now", **SPOOFED, **waited())), History())

    def test_return_exchange(self) -> None:
        """A message that was renewed after a redelivery comes through the return exchange, as on our own route."""
        self.assertEqual(self.route.history(delivery("work.return", pg_attempt=3)), History(3, 0))

    def test_no_record_of_waiting(self) -> None:
        """Without the broker's record that it has just expired there, a message has no history."""
        for deaths in (
            None, [], "waiting", {"queue": "waiting", "reason": "expired"}, ["waiting"], [None], [{}],
            [death("other")], [death(reason="rejected")], [death(reason="maxlen")],
            [death("work", "rejected"), death()], [death("other"), death()], [{"queue": "waiting"}],
        ):  # fmt: skip
            record = {**waited(), "x-death": deaths}
            self.assertEqual(self.route.history(delivery(**SPOOFED, **record)), History(), repr(deaths))
        self.assertEqual(self.route.history(delivery(**SPOOFED)), History())


class ForeignCopyTests(SynchronousTestCase):
    """Copies that come to several queues on the seed's route."""

    def test_of_another_queue(self) -> None:
        """After the delay, a copy of another queue's message is foreign, and one of this queue's message is not."""
        entries = [seed(), seed("other")]
        route = RetryRoute(entries[0], entries)
        self.assertTrue(route.is_foreign(delivery(pg_queue="other", **waited())))
        self.assertFalse(route.is_foreign(delivery(pg_queue="work", **waited())))

    def test_surplus(self) -> None:
        """If copies of this queue's message waited in two queues, the one from the other queue is foreign."""
        entries = [seed(), seed("other", dleParams=dle("waiting too"))]
        route = RetryRoute(entries[0], entries)
        self.assertTrue(route.is_foreign(delivery(pg_queue="work", **waited(death("waiting too")))))
        self.assertFalse(route.is_foreign(delivery(pg_queue="work", **waited(death("waiting")))))

    def test_queue_without_retry(self) -> None:
        """Copies are foreign in a queue that shares the exchange and has not the seed's route itself."""
        for plain in (entry("plain"), entry("plain", dle=True)):
            route = RetryRoute(plain, [seed(), plain])
            self.assertTrue(route.is_foreign(delivery(pg_queue="work", **waited())))
            self.assertTrue(route.is_foreign(delivery(pg_queue="plain", **waited())))

    def test_unknown_route(self) -> None:
        """A copy that waited on a route of another queue file is foreign as well."""
        self.assertTrue(
            RetryRoute(seed(), [seed()]).is_foreign(delivery(pg_queue="work", **waited(death("of another file"))))
        )

    def test_other_exchange(self) -> None:
        """Foreign copies are recognised whatever exchange the seed's route leads back through."""
        apart = entry("apart", topic="other")
        route = RetryRoute(apart, [seed(dleParams=dle(back="other")), apart])
        self.assertTrue(route.is_foreign(delivery("other", pg_queue="work", **waited())))
        alone = RetryRoute(apart, [apart, entry("work", dle=True)])
        self.assertFalse(alone.is_foreign(delivery("other", pg_queue="work", **waited())))

    def test_not_ours(self) -> None:
        """Not foreign: messages that we did not copy, have not just expired, or came through the return exchange."""
        entries = [seed(), seed("other")]
        route = RetryRoute(entries[0], entries)
        self.assertFalse(route.is_foreign(delivery(**waited())))
        self.assertFalse(route.is_foreign(delivery(pg_queue="other")))
        self.assertFalse(route.is_foreign(delivery(pg_queue="other", **waited(death(reason="rejected")))))
        self.assertFalse(route.is_foreign(delivery("work.return", pg_queue="other", **waited())))
