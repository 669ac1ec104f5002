"""The model is called at its URL only, whatever clients, messages or the model itself name."""

from __future__ import annotations

import select
import socket
from typing import Any
from urllib.parse import urlsplit

import pika

from tests.security.base import SecurityTestCase, channel
from tests.security.client import get, post
from tests.security.model import says


class ModelAddressTests(SecurityTestCase):
    """A listener that must get no connection; all inputs name it."""

    def setUp(self) -> None:
        super().setUp()
        self.trap = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(self.trap.close)
        self.address = f"127.0.0.1:{self.trap.getsockname()[1]}"
        self.url = f"http://{self.address}/predict"

    def assert_not_trapped(self) -> None:
        """Check that the listener has no connection after one more request was served."""
        self.model.answer = says(200, b'"later"')
        self.assertEqual(self.ask(post(b"1")).body, b'"later"')
        self.assertEqual(select.select([self.trap], [], [], 0)[0], [])
        expected = urlsplit(self.model.url)
        for asked in self.model.asked:
            self.assertEqual((asked.target, asked.headers["host"]), (expected.path, expected.netloc))

    def test_target(self) -> None:
        """The request's target chooses no host: the host of a URL is ignored, an authority alone is rejected."""
        for request in (
            post(b"1", target=self.url.encode()),
            get(self.address.encode(), b"CONNECT"),
            post(b"1", target=f"//{self.address}/v1/predict".encode()),
        ):
            self.assertIn(self.ask(request).status, (400, 404, 405))
        self.assertEqual(self.model.asked, [])
        whole = post(b"1", target=f"http://{self.address}/v1/predict".encode())
        self.assertEqual((self.ask(whole).status, len(self.model.asked)), (200, 1))
        self.assert_not_trapped()

    def test_headers(self) -> None:
        """No header chooses a host, neither Host nor the headers of proxies."""
        value = self.url.encode()
        names = (
            b"X-Forwarded-Host",
            b"X-Original-URL",
            b"X-Rewrite-URL",
            b"Forwarded",
            b"Location",
            b"Model-URL",
            b"Origin",
        )
        lines = [name + b": " + value for name in names] + [b"Host: " + self.address.encode()]
        self.assertEqual(self.ask(post(b"1", *lines)).status, 200)
        self.assert_not_trapped()

    def test_body_and_key(self) -> None:
        """Neither the body nor the routing key chooses a host."""
        body = f'{{"url": "{self.url}", "model": "{self.url}", "callback": "{self.url}"}}'.encode()
        self.assertEqual(self.ask(post(body)).status, 200)
        self.assertEqual(self.ask(post(b"1", b"routing-key: other." + self.url.encode())).status, 200)
        self.assert_not_trapped()

    def test_message(self) -> None:
        """No header or property of a message chooses a host."""
        names = ("Host", "host", "url", "MODEL_URL", ":authority", "X-Forwarded-Host", "Location")
        properties: dict[str, Any] = {"app_id": self.url, "type": self.url, "cluster_id": self.address}
        headers = dict.fromkeys(names, self.url)
        with channel() as opened:
            told = pika.BasicProperties(headers=headers, reply_to=self.deployment.output, **properties)
            opened.basic_publish(self.deployment.exchange, "predict.now", b"1", told)
        self.model.wait_for(1)
        self.assert_not_trapped()

    def test_redirect(self) -> None:
        """A redirect of the model is not followed: it counts as a failed call."""
        for status in (301, 302, 303, 307, 308):
            self.model.answer = says(status, b"", b"Location: " + self.url.encode())
            response = self.ask(post(b"1"))
            self.assert_problem(response, 502, "model-failed")
            self.assertNotIn("location", response.headers)
        self.assert_not_trapped()
