"""Admission to the API, and the origins that may read the response."""

from __future__ import annotations

from provider_gateway.message.message import Message
from tests.support.api import KEY, APITestCase
from tests.support.http_client import Client
from tests.support.observability import counted


class AdmissionTests(APITestCase):
    """An API with MAX_IN_FLIGHT 2."""

    def in_flight(self) -> float:
        return counted(self.metrics.http_in_flight)

    def test_too_many(self) -> None:
        """A request beyond MAX_IN_FLIGHT gets 503 with Retry-After; once another one has ended, it is served."""
        first, _ = self.post(), self.post()
        self.assertEqual(self.in_flight(), 2)
        response = self.assert_problem(self.post(), 503, "too-many-requests-in-flight")
        self.assertEqual(response.headers["retry-after"], "1")
        self.rpc.replies[0].callback(Message(b"1"))
        self.assertEqual(first.response().status, 200)
        self.assertEqual(self.in_flight(), 1)
        self.post()
        self.assertEqual(len(self.rpc.calls), 3)

    def test_queue_too_long(self) -> None:
        """If no reply comes in time, a request gets 503 with Retry-After and is not published; one a second is.

        ``/v1/publish`` does not wait for a reply, and is not refused. Requests for other routing keys are not, either.
        """
        expected = self.expected_waits.of("predict.now")
        calls = [expected.begin() for _ in range(2)]
        self.clock.advance(90)
        for began in calls:
            expected.expire(began)
        self.assert_problem(self.post(KEY, body=b"{"), 422)  # takes nobody's place
        self.post().leave()
        expected.begin()  # as the client of RPC does
        response = self.assert_problem(self.post(), 503, "queue-too-long")
        self.assertEqual(response.headers["retry-after"], "60")
        self.assertEqual((len(self.rpc.calls), self.in_flight()), (1, 0))
        self.post(path="/v1/publish").leave()
        self.post("routing-key: predict.later").leave()
        self.assertEqual((len(self.publisher.published), len(self.rpc.calls)), (1, 2))
        self.clock.advance(1)
        self.post().leave()
        self.assertEqual(len(self.rpc.calls), 3)

    def test_places_after_failures(self) -> None:
        """Requests that fail or are malformed no longer count as in flight."""
        for _ in range(5):
            self.assert_problem(self.post(KEY, body=b"{"), 422)
            client = self.post()
            self.rpc.replies[-1].errback(KeyError("x"))
            self.assert_problem(client, 500)
        self.assertEqual(self.in_flight(), 0)
        self.flushLoggedErrors(KeyError)

    def test_client_that_leaves(self) -> None:
        """When a caller leaves, its call is cancelled and no longer in flight; no error is logged."""
        client = self.post()
        client.leave()
        self.assertEqual(self.rpc.cancelled, 1)
        self.assertEqual(self.in_flight(), 0)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_client_that_leaves_after_publishing(self) -> None:
        """When a caller of /v1/publish leaves, its request is no longer in flight; the message stays published."""
        client = self.post(path="/v1/publish")
        client.leave()
        self.assertEqual(len(self.publisher.published), 1)
        self.assertEqual(self.in_flight(), 0)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_drain(self) -> None:
        """During the drain new requests get 503, and those in flight are finished."""
        client = self.post()
        self.api.drain()
        self.assert_problem(self.post(), 503, "draining")
        self.rpc.replies[0].callback(Message(b"1"))
        self.assertEqual(client.response().status, 200)
        self.assertEqual(self.in_flight(), 0)

    def test_cors_is_off(self) -> None:
        """Without CORS_ORIGINS no response names an origin, so that no browser lets a page call."""
        client = self.post(KEY, "Origin: https://a.example")
        self.rpc.replies[0].callback(Message(b"1"))
        self.assertEqual([name for name in client.response().headers if name.startswith("access-control")], [])
        preflight = Client(self.site)
        preflight.request("OPTIONS", "/v1/predict", b"", "Origin: https://a.example")
        response = preflight.response()
        self.assertEqual((response.status, response.headers["allow"]), (204, "OPTIONS, POST"))
        self.assertEqual([name for name in response.headers if name.startswith("access-control")], [])


class OriginTests(APITestCase):
    """CORS_ORIGINS with two origins."""

    cors_origins = ("https://a.example", "https://b.example")

    def preflight(self, *headers: str) -> Client:
        client = Client(self.site)
        client.request("OPTIONS", "/v1/predict", b"", *headers)
        return client

    def test_listed(self) -> None:
        """A listed origin may read the response and its RqUID, also that of an error."""
        for body, status in ((b"1", 200), (b"{", 422)):
            client = self.post(KEY, "Origin: https://b.example", body=body)
            if status == 200:
                self.rpc.replies[0].callback(Message(b"1"))
            response = client.response()
            self.assertEqual(response.status, status)
            self.assertEqual(response.headers["access-control-allow-origin"], "https://b.example")
            exposed = response.headers["access-control-expose-headers"].split(", ")
            expected = ["RqUID", "Inference-Header-Content-Length", "Location", "Retry-After", "Preference-Applied"]
            self.assertEqual(exposed, [*expected, "Idempotent-Replayed"])
            self.assertEqual(response.headers["vary"], "Origin")

    def test_not_listed(self) -> None:
        """An origin that is not listed is not named in the response, but Vary is set for caches."""
        client = self.post(KEY, "Origin: https://a.example.evil")
        self.rpc.replies[0].callback(Message(b"1"))
        self.assertNotIn("access-control-allow-origin", client.response().headers)
        self.assertEqual(client.response().headers["vary"], "Origin")

    def test_preflight(self) -> None:
        """The response to a preflight lists methods and headers for a listed origin only."""
        response = self.preflight("Origin: https://a.example").response()
        self.assertEqual((response.status, response.body), (204, b""))
        self.assertEqual(response.headers["access-control-allow-origin"], "https://a.example")
        self.assertEqual(response.headers["access-control-allow-methods"], "POST")
        self.assertIn("routing-key", response.headers["access-control-allow-headers"])
        for headers in (("Origin: https://c.example",), ()):
            response = self.preflight(*headers).response()
            self.assertEqual([name for name in response.headers if name.startswith("access-control")], [])


class EveryOriginTests(APITestCase):
    """CORS_ORIGINS is ``*``."""

    cors_origins = ("*",)

    def test_every_origin(self) -> None:
        """Any origin is named in the response; without an Origin header, none is."""
        for headers, named in (((KEY, "Origin: null"), "null"), ((KEY,), None)):
            client = self.post(*headers)
            self.rpc.replies[-1].callback(Message(b"1"))
            self.assertEqual(client.response().headers.get("access-control-allow-origin"), named)
