"""Webhooks on the embedded broker: tries, retries, parking, and many endpoints at a time. The test is the endpoints."""

from __future__ import annotations

from provider_gateway.store.records import Status
from provider_gateway.webhooks.endpoint_client import Result
from provider_gateway.webhooks.event import Event
from provider_gateway.webhooks.tries import CALLS, HELD
from tests.support.observability import counted
from tests.unit.webhooks.base import new_endpoint, record
from tests.unit.webhooks.fake_client import QUEUE, TIERS, WebhooksTestCase


class TriesTests(WebhooksTestCase):
    """From the record to the end of its webhook."""

    def test_delivered(self) -> None:
        """A record's webhook is tried at its endpoint, and acknowledged when the endpoint has taken it."""
        self.assertEqual([], self.webhooks.waiting_for())
        self.tell("c1")
        ((endpoint, event, _),) = self.calls
        self.assertIs(self.endpoints["done a"], endpoint)
        self.assertEqual(Event.of(record("c1")), event)
        self.assertEqual({"unacked": 1}, self.left())
        self.answer()
        self.assertEqual({}, self.left())
        self.assertEqual(1, counted(self.metrics.webhooks, "delivered"))

    def test_no_webhook(self) -> None:
        """A record without a webhook, and one that is pending, tell nobody."""
        self.successResultOf(self.publish(record(webhook=None)))
        self.successResultOf(self.publish(record(status=Status.PENDING)))
        self.assertEqual(({}, []), (self.left(), self.calls))

    def test_tiers(self) -> None:
        """A try that fails is repeated after 5 s, 30 s, 5 min, 30 min and 2 h; then the webhook is parked."""
        self.tell("c1")
        for number, (tier, seconds) in enumerate(TIERS.items(), 1):
            self.assertEqual(number, self.calls[0][1].attempt)
            self.answer(Result.STATUS)
            self.assertEqual({tier: 1}, self.left())
            self.advance(seconds - 0.1)
            self.assertEqual([], self.calls)
            self.advance(0.2)
        self.answer(Result.TIMEOUT)
        self.assertEqual({"parking": 1}, self.left())
        self.assertEqual(1, counted(self.metrics.webhooks_parked, "failed"))
        self.assertEqual((5, 1), tuple(counted(self.metrics.webhooks, each) for each in ("status", "timeout")))
        (line,) = self.lines("error")
        self.assertEqual("A webhook is parked: done a was not told of c1: 6 tries; the last one: it was timeout", line)

    def test_replayed(self) -> None:
        """A parked webhook that somebody moves back to the work queue begins anew."""
        self.test_tiers()
        (parked,) = self.take(f"{QUEUE}.parking")
        self.put("", QUEUE, parked.body, headers=dict(parked.headers), correlation_id=parked.correlation_id)
        self.assertEqual(Event.of(record("c1")), self.calls[0][1])

    def test_retry_after(self) -> None:
        """An endpoint that names a time is tried again after the first tier that is long enough, but not earlier."""
        for wait, tier in ((0.0, "5s"), (5.0, "5s"), (5.1, "30s"), (31.0, "5m"), (7200.0, "2h"), (1e6, "2h")):
            self.tell("c1")
            self.answer(Result.STATUS, wait)
            self.assertEqual({tier: 1}, self.left(), wait)
            self.take(f"{QUEUE}.retry.{tier}")
        self.tell("c1")
        self.answer(Result.STATUS)
        self.advance(6)
        self.answer(Result.STATUS, 1.0)
        self.assertEqual({"30s": 1}, self.left())

    def test_gone(self) -> None:
        """410 parks the webhook and all that follow, untried, until the endpoint is loaded anew; others go on."""
        self.tell("c1", "c2")
        self.answer(Result.GONE, number=0)
        self.answer()  # the call that was under way
        self.tell("c3")
        self.assertEqual(({"parking": 2}, []), (self.left(), self.calls))
        self.assertEqual(2, counted(self.metrics.webhooks_parked, "gone"))
        self.assertEqual(3, len(self.lines("error")))
        self.tell("c4", webhook="other a")
        self.answer()
        self.endpoints["done a"] = new_endpoint()
        self.tell("c5")
        self.answer()
        self.assertEqual({"parking": 2}, self.left())

    def test_unknown(self) -> None:
        """A webhook whose endpoint is gone from the access file waits as one that failed: replicas reload apart."""
        endpoint = self.endpoints.pop("done a")
        self.tell("c1")
        self.assertEqual(({"5s": 1}, []), (self.left(), self.calls))
        self.endpoints["done a"] = endpoint
        self.advance(6)
        self.assertEqual(2, self.calls[0][1].attempt)
        self.answer()
        self.assertEqual(1, counted(self.metrics.webhooks, "unknown"))

    def test_reload_while_waiting(self) -> None:
        """What waits for a call when the access file is loaded anew is sent to the new endpoint."""
        self.tell(*(f"c{number}" for number in range(CALLS + 1)))
        self.assertEqual(CALLS, len(self.calls))
        new = self.endpoints["done a"] = new_endpoint(url="http://127.0.0.1:1/")
        self.answer(number=0)
        self.assertIs(new, self.calls[-1][0])

    def test_foreign_message(self) -> None:
        """A message that is no webhook is parked as it is, with its reason; and it holds up nothing."""
        self.put("", QUEUE, b"junk", headers={"a": "b"})
        self.put("", QUEUE, b"", headers={"pg-webhook": 5, "pg-webhook-id": "x"})
        self.assertEqual({"parking": 2}, self.left())
        first = self.take(f"{QUEUE}.parking")[0]
        self.assertEqual((b"junk", "b", "malformed"), (first.body, first.headers["a"], first.headers["pg-reason"]))
        self.assertEqual(2, counted(self.metrics.webhooks_parked, "malformed"))

    def test_call_that_breaks(self) -> None:
        """An error that nobody foresaw is logged, and the webhook tried again."""
        self.tell("c1")
        self.calls.pop()[2].errback(ZeroDivisionError())
        self.pump()
        self.assertEqual({"5s": 1}, self.left())
        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))

    def test_log(self) -> None:
        """An endpoint that begins to fail is logged once, and once when it takes webhooks again; without the query."""
        self.tell("c1", "c2", "c3")
        for result in (Result.STATUS, Result.TIMEOUT, Result.DELIVERED):
            self.answer(result, number=0)
        (line,) = self.lines("warn")
        url = "(http://127.0.0.1:8080/hook?***)"
        self.assertEqual(f"The webhook endpoint done a {url} fails: it was status", line)
        self.assertIn(f"The webhook endpoint done a {url} takes webhooks again", self.lines("info"))
        self.assertNotIn("hidden", repr(self.logged))


class LossTests(WebhooksTestCase):
    """Nothing is lost."""

    def test_death(self) -> None:
        """A process that dies during a call leaves the webhook at the broker, for the next one."""
        self.tell("c1")
        self.lose(self.consuming)
        self.lose(self.publishing)
        self.begin()
        self.assertEqual([Event.of(record("c1"))] * 2, [event for _, event, _ in self.calls])
        self.answer()
        self.assertEqual({}, self.left())

    def test_confirmed_first(self) -> None:
        """The delivery is acknowledged only when the broker has confirmed the webhook in the next queue."""
        self.tell("c1")
        self.lose(self.publishing)
        self.answer(Result.STATUS)
        self.assertEqual({"unacked": 1}, self.left())
        self.lose(self.consuming)
        self.advance(100)
        self.assertEqual({"": 1}, self.left())

    def test_missing_queue(self) -> None:
        """If a queue is gone, it is declared again, and the webhook published again."""
        self.tell("c1")
        self.delete(f"{QUEUE}.retry.5s")
        self.answer(Result.STATUS)
        self.advance(1)
        self.assertEqual({"5s": 1}, self.left())

    def test_publish_waits(self) -> None:
        """``publish`` waits for the broker. It can be cancelled."""
        self.lose(self.publishing)
        waiting, cancelled = self.publish(record("c1")), self.publish(record("c2"))
        self.assertNoResult(waiting)
        cancelled.cancel()
        self.failureResultOf(cancelled)
        self.publishing = self.connect()
        self.run_(self.webhooks._mover._publisher.open(self.publishing))
        self.pump()
        self.successResultOf(waiting)
        self.assertEqual(["c1"], [event.request for _, event, _ in self.calls])

    def test_full_queue(self) -> None:
        """A nack is no end: the webhook is published again."""
        tier = f"{QUEUE}.retry.5s"
        self.delete(tier)
        self.make_queue(tier, **{"x-queue-type": "classic", "x-max-length": 0, "x-overflow": "reject-publish"})
        self.tell("c1")
        self.answer(Result.STATUS)
        self.advance(5)
        self.assertEqual({"unacked": 1}, self.left())
        self.delete(tier)
        self.advance(20)
        self.assertEqual(2, self.calls[0][1].attempt)

    def test_drain(self) -> None:
        """A drain begins no call; those under way end; what waits is delivered again. ``publish`` still works."""
        self.tell(*(f"c{number}" for number in range(CALLS + 2)))
        self.run_(self.webhooks.drain())
        for _ in range(CALLS):
            self.answer(number=0)
        self.assertEqual([], self.calls)
        self.tell("late")
        self.run_(self.webhooks.close())
        self.lose(self.consuming)
        self.assertEqual({"": 3}, self.left())

    def test_close(self) -> None:
        """``close`` ends the calls under way, whose webhooks the broker keeps; also without a connection."""
        self.tell("c1")
        self.run_(self.webhooks.close())
        self.lose(self.consuming)
        self.assertEqual({"": 1}, self.left())
        self.run_(self.webhooks.close())


class ManyTests(WebhooksTestCase):
    """Endpoints that hang do not hold up others."""

    def test_hanging(self) -> None:
        """However much an endpoint that hangs has to do, another one's webhook is called at once."""
        self.tell(*(f"c{number}" for number in range(3 * HELD)))
        self.assertEqual(CALLS, len(self.calls))
        self.assertLess(self.left()["unacked"], HELD)
        self.tell("x", webhook="other a")
        self.assertEqual("x", self.calls[-1][1].request)

    def test_many_hanging(self) -> None:
        """The same with more endpoints that hang than there are places in all."""
        for number in range(60):
            self.endpoints[f"e{number} a"] = new_endpoint(f"e{number}")
            self.tell(*(f"{number}.{count}" for count in range(20)), webhook=f"e{number} a")
        self.tell("x", webhook="other a")
        self.assertEqual("x", self.calls[-1][1].request)

    def test_put_off(self) -> None:
        """A try that is put off is not counted as one, and comes back; for longer, if the endpoint fails."""
        total = 2 * HELD
        self.tell(*(f"c{number}" for number in range(total)))
        put_off = self.left()["5s"]
        self.assertEqual(put_off, counted(self.metrics.webhooks, "put-off"))
        self.assertEqual(total, put_off + self.left()["unacked"])
        delivered = 0
        for _ in range(40):
            while self.calls:
                self.assertEqual(1, self.calls[0][1].attempt)
                delivered += 1
                self.answer(number=0)
            self.advance(6)
        self.assertEqual(({}, total), (self.left(), delivered))

    def test_put_off_while_failing(self) -> None:
        """What is put off for an endpoint that fails waits for longer."""
        self.tell("c")
        self.answer(Result.TIMEOUT)
        self.tell(*(f"c{number}" for number in range(2 * HELD)))
        left = self.left()
        self.assertEqual({"5s": 1}, {tier: count for tier, count in left.items() if tier == "5s"})
        self.assertGreater(left["30s"], HELD)


class QueuesTests(WebhooksTestCase):
    """What is declared."""

    def test_again(self) -> None:
        """Another instance declares the same, and takes its share."""
        self.begin()
        self.tell("c1", "c2")
        self.assertEqual(2, len(self.calls))
        self.assertEqual([], self.webhooks.waiting_for())

    def test_without_an_access_file(self) -> None:
        """An instance without an access file declares the queues, publishes, and leaves the webhooks to others."""
        self.run_(self.webhooks.close())
        self.patch(self, "endpoint_now", None)
        self.begin()
        self.tell("c1")
        self.assertEqual(({"": 1}, []), (self.left(), self.calls))
        self.assertEqual((0, []), (self.webhooks.consumers, self.webhooks.waiting_for()))

    def test_not_open(self) -> None:
        """Before it consumes, it says so."""
        self.run_(self.webhooks.close())
        self.assertEqual([f"consumer of {QUEUE}"], self.webhooks.waiting_for())
