"""The admin listener: health and metrics, for GET and HEAD, with the same limits as the HTTPS listener."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from tests.security.base import SecurityTestCase
from tests.security.client import Connection, NoResponseError, Response, get, post

if TYPE_CHECKING:
    from tests.security.base import Deployment

PATHS = (b"/health", b"/health/live", b"/health/ready", b"/metrics")
LIMIT, MOST = 0.5, 5


class AdminTests(SecurityTestCase):
    """Paths, methods and limits of the admin listener."""

    @classmethod
    def variables(cls, deployment: Deployment) -> dict[str, str]:
        """Small limits, for both listeners."""
        return {"HTTP_HEADERS_TIMEOUT": str(LIMIT), "HTTP_BODY_TIMEOUT": str(LIMIT), "HTTP_MAX_CONNECTIONS": str(MOST)}

    def connect_to_admin(self) -> Connection:
        """Connect to the admin listener."""
        connection = Connection(self.gateway.port("admin"), None)
        self.addCleanup(connection.close)
        return connection

    def ask_admin(self, request: bytes) -> Response:
        """Send a request on a new connection; returns the response."""
        with self.connect_to_admin() as connection:
            return connection.ask(request)

    def assert_plain_problem(self, response: Response, status: int, problem: str) -> None:
        """Check that a response is a problem document of this type; it has no request id here."""
        self.assertEqual((response.status, response.problem["status"]), (status, status))
        self.assertEqual(response.problem["type"], f"urn:provider-gateway:problem:{problem}")

    def test_health(self) -> None:
        """Health tells nothing else: no name, no version, no address, no setting."""
        for path in PATHS[:3]:
            response = self.ask_admin(get(path))
            self.assertEqual((response.status, json.loads(response.body)), (200, {"status": "OK"}))

    def test_metrics(self) -> None:
        """Metrics are about process and traffic; no label has an identity, body, key, id or address."""
        self.ask(post(b'{"secret": "in a body"}', b"RqUID: an-id-of-a-request", b"routing-key: predict.secret"))
        self.ask(get(b"/a-secret-path"))
        text = self.admin("/metrics")[1]
        for told in (
            "caller",
            "in a body",
            "an-id-of-a-request",
            "predict.secret",
            "a-secret-path",
            "127.0.0.1",
            "localhost",
        ):
            self.assertNotIn(told, text)
        series = [line for line in text.splitlines() if not line.startswith("#")]
        self.assertEqual([line for line in series if not re.match("provider_gateway_|process_|python_", line)], [])

    def test_other_paths(self) -> None:
        """Other paths are 404, even those of the HTTPS listener."""
        for path in (
            b"/",
            b"/docs",
            b"/openapi.json",
            b"/v1/models",
            b"/v1/parking",
            b"/v1/parking/fib",
            b"/v1/predict",
            b"/v1/publish",
            b"/v2",
            b"/v2/health/live",
            b"/v2/models/fraud/infer",
            b"/settings",
            b"/debug",
            b"/metrics/x",
            b"/health/..%2f",
            b"/%2e%2e/",
        ):
            for request in (get(path), post(b"1", target=path)):
                response = self.ask_admin(request)
                self.assert_plain_problem(response, 404, "not-found")
        self.assertEqual(self.model.asked, [])

    def test_other_methods(self) -> None:
        """Every method but GET and HEAD is 405."""
        for path in PATHS:
            for method in (b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"TRACE", b"CONNECT", b"BREW"):
                response = self.ask_admin(get(path, method))
                self.assert_plain_problem(response, 405, "method-not-allowed")
                self.assertEqual(response.headers["allow"], "GET, HEAD")

    def test_head(self) -> None:
        """HEAD gets the headers of GET, without the body."""
        for path in PATHS:
            with self.connect_to_admin() as connection:
                connection.send(get(path, b"HEAD"))
                head = connection.response(has_body=False)
                self.assertEqual((head.status, connection.ask(get(b"/health")).status), (200, 200))
            self.assertGreater(int(head.headers["content-length"]), 0)

    def assert_refused_once(self, request: bytes, status: int) -> None:
        """Check that a request gets one response, and bytes behind it none."""
        with self.connect_to_admin() as connection:
            response = connection.ask(request + get(b"/health"))
            connection.send(get(b"/health"))
            self.assertEqual((response.status, connection.finish()), (status, b""), request[:200])

    def test_malformed(self) -> None:
        """Bytes that are not HTTP are 400, and nothing behind them is parsed."""
        start = b"GET /health HTTP/1.1\r\n"
        host = b"Host: localhost\r\n"
        for request in (
            start + b"\r\n",
            start + host + host + b"\r\n",
            start + host + b"X-Any : a\r\n\r\n",
            start + host + b"X-Any: a\r\n b\r\n\r\n",
            start + host + b"X-Any: a\nX-Other: b\r\n\r\n",
            start + host + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n1",
            start + host + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
        ):
            self.assert_refused_once(request, 400)
        self.assert_healthy()

    def test_sizes(self) -> None:
        """Headers over the limits are 431, and a body of more than a kilobyte is 413, declared or chunked."""
        start = b"GET /health HTTP/1.1\r\nHost: localhost\r\n"
        for headers in (b"X-Any: " + b"a" * 20_000 + b"\r\n", b"X-Any: a\r\n" * 101):
            self.assert_refused_once(start + headers + b"\r\n", 431)
        self.assert_refused_once(start + b"Content-Length: 1025\r\n\r\n", 413)
        self.assert_refused_once(start + b"Transfer-Encoding: chunked\r\n\r\n401\r\n" + b"1" * 1025, 413)
        self.assert_healthy()

    def test_slow(self) -> None:
        """Headers and bodies that stop are 408."""
        for request in (b"GET /health", get(b"/health").replace(b"\r\n\r\n", b"\r\nContent-Length: 5\r\n\r\n1")):
            with self.connect_to_admin() as connection:
                self.assert_plain_problem(connection.ask(request), 408, "request-timeout")
        self.assert_healthy()

    def test_connections(self) -> None:
        """Connections over the limit are closed; open ones are served, and so is the HTTPS listener."""
        connections = [self.connect_to_admin() for _ in range(MOST)]
        for each in connections:
            self.assertEqual(each.ask(get(b"/health")).status, 200)
        for _ in range(3):
            with self.assertRaises((OSError, NoResponseError)):
                self.ask_admin(get(b"/health"))
        for each in connections:
            self.assertEqual(each.ask(get(b"/metrics")).status, 200)
        self.assert_serves()
