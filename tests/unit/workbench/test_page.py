"""The page of a gateway, put together, at an embedded broker."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

from provider_gateway.config.limits import Limits
from provider_gateway.config.queue_file import parse_queues
from provider_gateway.http_server.site import GatewaySite
from provider_gateway.observability.metrics import Metrics
from provider_gateway.workbench.access import Access
from provider_gateway.workbench.page import Page
from provider_gateway.workbench.pages import Requests
from provider_gateway.workbench.turns import Turns
from tests.support.embedded_broker import BrokerTestCase
from tests.support.http_client import Client
from tests.unit.workbench.pages_base import ALL, NOW, QUEUES, FakeParking


class PageTests(BrokerTestCase):
    """An operator of a process whose broker has messages in a work, a retry and a parking queue."""

    def setUp(self) -> None:
        super().setUp()
        for name, count in (("fib", 3), ("fib.retry", 2), ("fib.parking", 1)):
            self.make_queue(name)
            for _ in range(count):
                self.put("", name)
        entries = parse_queues(QUEUES, "test")
        self.parking: Any = FakeParking(entries)
        settings: Any = SimpleNamespace(instance="here", workers=4)
        self.page = Page(
            self.clock,
            settings,
            entries,
            parking=self.parking,
            access=Access(None, self.parking.places, self.parking.lines.append),
            turns=Turns(1, 1),
            requests=Requests(
                keys=lambda _: [], types=[], owner=lambda _: None, results=None, may_use=lambda _request, _key: True
            ),
            wait={"fib": 2.5}.get,
            metrics=Metrics(),
            wall_clock=lambda: NOW,
        )
        self.page.open(self.connect())
        render = self.page.resource.render

        def render_for_operator(request: Any) -> Any:
            request.operator = ALL
            return render(request)

        self.page.resource.render = render_for_operator  # type: ignore[method-assign] # as a guard does
        self.site = GatewaySite(self.page.resource, self.clock, Limits(), wall_clock=lambda: NOW)

    def figures(self) -> dict[str, str]:
        """The figures of the overview, by their keys."""
        client = Client(self.site)
        client.request("GET", "/workbench")
        self.pump()
        html = client.response().body.decode()
        return dict(re.findall(r'data-live="([^"]+)"[^>]*>([^<]*)<', html))

    def test_figures(self) -> None:
        """The overview has the broker's counts, with the messages that a look of this process holds, and the wait."""
        self.parking.are_held["fib"] = 40
        found = self.figures()
        self.assertEqual(("3", "none", "2.5 s"), (found["q0.waiting"], found["q0.consumers"], found["q0.wait"]))
        self.assertEqual(("2", "41"), (found["q0.retrying"], found["q0.parked"]))
        self.assertEqual("–", found["q1.waiting"], "a queue that is not there")

    def test_workers(self) -> None:
        """With several workers the page says that the figures are those of one."""
        client = Client(self.site)
        client.request("GET", "/workbench")
        self.pump()
        html = client.response().body.decode()
        self.assertIn("this worker process, one of 4 on this machine", html)

    def test_drain(self) -> None:
        """At drain the streams of live figures end."""
        client = Client(self.site)
        client.request("GET", "/workbench/events")
        self.pump()
        self.assertIn(b"event: figures", client.value())
        self.page.drain()
        self.assertTrue(client.value().endswith(b"0\r\n\r\n"))
