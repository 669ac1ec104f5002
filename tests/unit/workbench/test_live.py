"""Live figures: what they say, and to whom they are sent."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred

from provider_gateway.parking.operators import Operator
from provider_gateway.workbench.queue_counts import QueueCount
from tests.support.http_client import Client
from tests.unit.workbench.pages_base import ALL, ODD, PagesTestCase


class LiveTestCase(PagesTestCase):
    """Somebody who watches."""

    def watch(self) -> Client:
        client = Client(self.workbench.site)
        client.request("GET", "/workbench/events")
        return client

    @staticmethod
    def events(client: Client) -> list[dict[str, Any]]:
        """The figures that a client has received."""
        lines = client.value().decode().split("\n")
        return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith('data: {"at"')]

    def newest(self, client: Client) -> dict[str, Any]:
        return self.events(client)[-1]


class FiguresTests(LiveTestCase):
    """What is said of a queue."""

    def said(self) -> dict[str, str]:
        operator = self.workbench.operator or ALL
        shown = self.successResultOf(Deferred.fromCoroutine(self.workbench.live.shown(operator)))
        self.states = shown.states
        texts: dict[str, str] = shown.texts
        return texts

    def test_nothing_known(self) -> None:
        """What nobody knows is a dash: neither 0, nor an alarm."""
        said = self.said()
        for key in ("waiting", "consumers", "wait", "running", "calls", "failures", "time", "retrying"):
            self.assertEqual("–", said[f"q0.{key}"], key)
        self.assertEqual(("called elsewhere", "–"), (said["q0.model"], said["q0.parked"]))
        self.assertEqual({""}, set(self.states.values()))

    def test_counts(self) -> None:
        """The broker's counts, of the queue, of its retry queue, and of the parking queue."""
        self.workbench.counts.counts = {
            "fib": QueueCount(1200, 2),
            "fib.retry": QueueCount(5, 0),
            ODD: QueueCount(0, 0),
        }
        self.workbench.counts.counts["fib.parking"] = QueueCount(3, 0)
        said = self.said()
        self.assertEqual(
            ("1,200", "2", "5", "3"),
            (said["q0.waiting"], said["q0.consumers"], said["q0.retrying"], said["q0.parked"]),
        )
        self.assertEqual(("5", "3"), (said["all.retrying"], said["all.parked"]))
        self.assertEqual("warn", self.states["q0.parked"])
        self.assertEqual(("none", "called by nobody"), (said["q1.consumers"], said["q1.model"]))
        self.assertEqual(("bad", "bad"), (self.states["q1.consumers"], self.states["q1.model"]))

    def test_model(self) -> None:
        """The model's state in words, and how many of its calls run."""
        for number, said in ((0, "ready"), (1, "busy"), (2, "away")):
            self.workbench.metrics.model_state.labels("fib").set(number)
            self.workbench.metrics.model_concurrency.labels("fib").set(10)
            self.workbench.metrics.deliveries_in_flight.labels("fib").set(7)
            self.assertEqual((said, "7 of 10"), (self.said()["q0.model"], self.said()["q0.running"]))

    def test_rights(self) -> None:
        """Nothing is said of a queue on which the operator has no right, in sums either."""
        self.workbench.counts.counts = {"fib.parking": QueueCount(0, 0), f"{ODD}.parking": QueueCount(5, 0)}
        self.rights(fib="drop")
        said = self.said()
        self.assertEqual([], [key for key in said if key.startswith("q1.")])
        self.assertEqual("0", said["all.parked"])

    def test_held(self) -> None:
        """Messages that this process looks at are not ready at the broker, and they are parked all the same."""
        self.workbench.counts.counts = {"fib.parking": QueueCount(0, 1)}
        self.parking.are_held["fib"] = 300
        self.assertEqual("300", self.said()["q0.parked"])


class EventsTests(LiveTestCase):
    """Who is sent figures, and when."""

    def test_at_once_and_then(self) -> None:
        """Whoever begins to watch gets the figures at once, and then every other second."""
        client = self.watch()
        self.assertEqual(1, len(self.events(client)))
        self.assertEqual("2026-11-27 03:26:40 UTC", self.newest(client)["at"])
        self.clock.pump([0.5] * 8)
        self.assertEqual(3, len(self.events(client)))

    def test_changes(self) -> None:
        """What changes is in the next event."""
        client = self.watch()
        self.workbench.counts.counts = {"fib.parking": QueueCount(1, 0)}
        self.clock.advance(2)
        self.assertEqual(["–", "1"], [each["texts"]["q0.parked"] for each in self.events(client)])

    def test_nobody_watches(self) -> None:
        """When nobody watches any more, nobody is asked."""
        client = self.watch()
        self.clock.pump([2] * 3)
        client.leave()
        asked = self.workbench.counts.asked
        self.clock.pump([2] * 5)
        self.assertLessEqual(self.workbench.counts.asked, asked + 1)
        self.assertEqual([], [call for call in self.clock.getDelayedCalls() if call.getTime() < 10])
        self.assertEqual(1, len(self.events(self.watch())), "and it begins anew")

    def test_several(self) -> None:
        """The broker is asked once for all who watch."""
        clients = [self.watch() for _ in range(5)]
        self.clock.pump([2] * 3)
        self.assertEqual(4, self.workbench.counts.asked)
        for client in clients:
            self.assertGreaterEqual(len(self.events(client)), 4)

    def test_slow_reader(self) -> None:
        """A client that does not read is sent nothing more; others are."""
        slow, other = self.watch(), self.watch()
        slow.producer.pauseProducing()
        slow.clear()
        self.clock.pump([2] * 5)
        self.assertEqual(b"", slow.value())
        self.assertGreater(len(self.events(other)), 4)
        self.clock.pump([2] * 30)
        self.assertEqual((True, ["timeout"]), (slow.aborted, self.workbench.dropped))

    def test_rights_withdrawn(self) -> None:
        """A stream ends when its caller has no right any more, and shows less when it has fewer."""
        client = self.watch()
        self.rights(fib="read")
        self.clock.advance(2)
        self.assertNotIn("q1.parked", self.newest(client)["texts"])
        self.workbench.operator = None
        self.clock.advance(2)
        self.assertTrue(client.value().endswith(b"0\r\n\r\n"))

    def test_drain(self) -> None:
        """At drain streams end at once, and new ones are refused."""
        client = self.watch()
        self.workbench.pages.drain()
        self.assertTrue(client.value().endswith(b"event: stopping\ndata: \n\n\r\n0\r\n\r\n"))
        self.assertEqual(503, self.get("/workbench/events").status)
        self.assertEqual([], [call for call in self.clock.getDelayedCalls() if call.getTime() < 10])

    def test_head(self) -> None:
        """HEAD begins no stream."""
        response = self.get("/workbench/events", "HEAD")
        self.assertEqual((200, "text/event-stream; charset=utf-8"), (response.status, response.headers["content-type"]))
        self.assertEqual(0, len(self.workbench.streams))

    def test_hostile_names(self) -> None:
        """Whatever the name of a queue is, keys and framing stay the same."""
        self.workbench.operator = Operator("x", "h")
        self.assertIn("q1.parked", self.newest(self.watch())["texts"])
