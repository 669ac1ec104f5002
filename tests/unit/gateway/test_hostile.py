"""Hostile requests and replies, which the API must not pass on as they are."""

from __future__ import annotations

from provider_gateway.app.admin import Admin
from provider_gateway.config.limits import Limits
from provider_gateway.http_server.site import GatewaySite
from provider_gateway.message.message import Message
from provider_gateway.observability.metrics import Metrics
from tests.support.api import KEY, APITestCase
from tests.support.http_client import Client


class UndecodableHeadersTests(APITestCase):
    """Header values that are not UTF-8, in headers that the API reads."""

    def test_content_type(self) -> None:
        """Such a Content-Type is answered with 415, not with 500."""
        for value in ("\xff", "text/\xff", "application/json; charset=\xff"):
            self.assert_problem(self.post(KEY, f"Content-Type: {value}"), 415, "unsupported-media-type")
        self.assertEqual((self.rpc.calls, self.flushLoggedErrors()), ([], []))

    def test_routing_key(self) -> None:
        """Such a routing key is answered with 400: in UTF-8 it would be another one."""
        client = Client(self.site)
        client.send(b"POST /v1/predict HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nrouting-key: predict.\xff\r\n\r\n")
        self.assert_problem(client, 400, "bad-request")
        self.assertEqual((self.rpc.calls, self.flushLoggedErrors()), ([], []))

    def test_content_encoding(self) -> None:
        """Such a Content-Encoding is answered with 415, not with 500."""
        self.assert_problem(self.post(KEY, "Content-Encoding: \xff"), 415, "unsupported-media-type")
        self.assertEqual((self.rpc.calls, self.flushLoggedErrors()), ([], []))

    def test_accept_of_metrics(self) -> None:
        """With such an Accept header the metrics come in the default format."""
        client = Client(
            GatewaySite(
                Admin(Metrics().registry.collect, list, list).app.resource(), self.clock, Limits(max_body_bytes=1000)
            )
        )
        client.request("GET", "/metrics", b"", "Accept: \xff", "Accept: text/\xfe;q=0.5")
        response = client.response()
        self.assertEqual(response.status, 200)
        self.assertTrue(response.headers["content-type"].startswith("text/plain"))
        self.assertIn(b"provider_gateway_http_in_flight", response.body)
        self.assertEqual(self.flushLoggedErrors(), [])


class ReplyTests(APITestCase):
    """Replies with headers or a status that they must not set."""

    cors_origins = ("https://a.example",)
    cors_headers = Message(b"1", {"Access-Control-Allow-Origin": "*", "access-control-max-age": "9", "VARY": "X-Any"})

    def test_cors_of_the_reply(self) -> None:
        """Access-Control headers and Vary of a reply are not passed on: CORS_ORIGINS alone decides about origins."""
        response = self.answered(self.cors_headers)
        self.assertEqual(response.status, 200)
        self.assertEqual({name for name in response.headers if name.startswith("access-control-")}, set())
        self.assertEqual(response.headers["vary"], "Origin")

    def test_cors_of_ours(self) -> None:
        """The response names the allowed origin, whatever the reply's headers say."""
        response = self.answered(self.cors_headers, KEY, "Origin: https://a.example")
        self.assertEqual(response.headers["access-control-allow-origin"], "https://a.example")
        self.assertEqual(response.headers["vary"], "Origin")
        self.assertNotIn("access-control-max-age", response.headers)

    def test_options(self) -> None:
        """OPTIONS is answered with 204 and the methods, with or without an allowed origin."""
        for path in ("/v1/predict", "/v1/publish"):
            for headers in ((), ("Origin: https://a.example",), ("Origin: https://other.example",)):
                client = Client(self.site)
                client.request("OPTIONS", path, b"", *headers)
                response = client.response()
                self.assertEqual((response.status, response.headers["allow"]), (204, "OPTIONS, POST"))
        self.assertEqual(self.rpc.calls, [])

    def test_no_content(self) -> None:
        """For a status without content the reply's body is dropped, and the connection serves the next request."""
        for status in (204, 304):
            client = self.post(KEY, "RqUID: r-1")
            self.rpc.replies[-1].callback(Message(b"surplus", {"pg-status": status, "X-Model": "m"}))
            head, end, body = client.value().partition(b"\r\n\r\n")
            self.assertEqual((end, body), (b"\r\n\r\n", b""))
            response = client.response()
            self.assertEqual((response.status, response.headers["x-model"]), (status, "m"))
            self.assertEqual({"content-length", "transfer-encoding"} & set(response.headers), set(), head)
            client.clear()
            client.post("/v1/predict", b"{}", KEY)
            self.rpc.replies[-1].callback(Message(b"next"))
            self.assertEqual(client.response().body, b"next")
            self.assertFalse(client.disconnecting)
