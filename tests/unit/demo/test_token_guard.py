"""The guard of the demo's plain listener: who is let in, and what is told of the token."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource

from provider_gateway.config.limits import Limits
from provider_gateway.demo.token_guard import TokenGuard
from provider_gateway.http_server.access_log import AccessRecord
from provider_gateway.http_server.site import GatewaySite
from provider_gateway.observability.metrics import Metrics
from tests.support.http_client import Client, Response

PORT = 5081
TOKEN = "s3cr3t-t0ken_of-43-characters-0123456789abcdef"
COOKIE = f"provider-gateway-demo-{PORT}={TOKEN}"
HOST = f"Host: 127.0.0.1:{PORT}"


class Served(Resource):
    """The guarded resource. Keeps method, path and operator of what reaches it."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[tuple[bytes, bytes, Any]] = []

    def render(self, request: Any) -> bytes:
        self.requests.append((request.method, request.path, getattr(request, "operator", None)))
        request.setHeader(b"Content-Length", b"2")
        return b"ok"


class Lines:
    """A text file in memory, for the access log."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> None:
        self.text += text

    def flush(self) -> None:
        pass


class TokenGuardTests(SynchronousTestCase):
    """A guarded resource on a site, asked from bytes to bytes."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.served = Served()
        self.operator = object()
        self.access_log: Any = Lines()
        self.guard = TokenGuard(self.served, port=PORT, operator=self.operator, token=TOKEN)
        record = AccessRecord(Metrics(), self.clock, self.access_log, self.clock.seconds)
        self.site = GatewaySite(self.guard, self.clock, Limits(), record, wall_clock=self.clock.seconds)

    def ask(self, *headers: str, method: str = "GET", path: str = "/workbench", identity: Any = None) -> Response:
        """Send a request on a connection of its own; returns the response."""
        client = Client(self.site)
        client.protocol.identity = identity
        client.request(method, path, b"", *headers)
        return client.response()

    def assert_refused(self, *headers: str, **how: Any) -> Response:
        """Send a request that is to be refused, without a word of the token; returns the response."""
        response = self.ask(*headers, **how)
        self.assertEqual((403, []), (response.status, self.served.requests))
        self.assertNotIn(TOKEN, repr(response))
        self.assertNotIn("set-cookie", response.headers)
        return response

    def test_link(self) -> None:
        """The link has the token. Its request gets a cookie for this listener and the address without the token."""
        self.assertEqual(f"http://127.0.0.1:{PORT}/workbench?token={TOKEN}", self.guard.link)
        response = self.ask(HOST, path=f"/workbench?token={TOKEN}")
        self.assertEqual(303, response.status)
        self.assertEqual(f"http://127.0.0.1:{PORT}/workbench", response.headers["location"])
        self.assertEqual(f"{COOKIE}; Path=/; HttpOnly; SameSite=Strict", response.headers["set-cookie"])
        self.assertEqual(
            ("no-referrer", "no-store"), (response.headers["referrer-policy"], response.headers["cache-control"])
        )
        self.assertEqual([], self.served.requests)

    def test_other_parameters_stay(self) -> None:
        """The redirect keeps path and query but for the token, and never leads to another host."""
        for path, where in (
            (f"/workbench/fib?reason=a%26b&token={TOKEN}&after=3", "/workbench/fib?reason=a%26b&after=3"),
            (f"/workbench?to%6ben={TOKEN}", "/workbench"),
            (f"//evil.example/?token={TOKEN}", "//evil.example/"),
            (f"http://127.0.0.1:{PORT}/workbench?token={TOKEN}", "/workbench"),
        ):
            response = self.ask(HOST, path=path)
            self.assertEqual((303, f"http://127.0.0.1:{PORT}{where}"), (response.status, response.headers["location"]))

    def test_cookie(self) -> None:
        """With the cookie, alone or among others, a request is served for the operator who has the token."""
        for cookie in (COOKIE, f"a=b; {COOKIE}", f"provider-gateway-demo-{PORT}=old; {COOKIE}; c"):
            self.assertEqual(200, self.ask(HOST, f"Cookie: {cookie}").status)
        self.assertEqual(200, self.ask(f"Host: LocalHost:{PORT}", f"Cookie: {COOKIE}", method="POST").status)
        self.assertEqual([self.operator] * 4, [operator for _, _, operator in self.served.requests])

    def test_no_token(self) -> None:
        """Without the token, or with a wrong one, a browser gets a page that says what is missing."""
        for headers, path in (
            ((), "/workbench"),
            (("Cookie: a=b",), "/workbench"),
            ((f"Cookie: {COOKIE}x",), "/workbench"),
            ((f"Cookie: provider-gateway-demo-{PORT}=",), "/workbench"),
            ((f"Cookie: provider-gateway-demo-1={TOKEN}",), "/workbench"),
            ((f"Cookie: {COOKIE}",), "/workbench?token=wrong"),
            ((f"Cookie: {COOKIE}",), "/workbench?token="),
            ((f"Cookie: {COOKIE}",), "/workbench?token=%ff%00"),
            ((), f"/workbench?token={TOKEN[:-1]}"),
            ((), f"/workbench?Token={TOKEN}"),
            ((), "/v1/predict"),
        ):
            response = self.assert_refused(HOST, "Accept: text/html,*/*", *headers, path=path)
            self.assertEqual("text/html; charset=utf-8", response.headers["content-type"])
            self.assertIn(b"<code>?token=</code>", response.body)
            self.assertIn("default-src 'none'", response.headers["content-security-policy"])

    def test_programs(self) -> None:
        """A program without the token gets a problem document."""
        problem = self.assert_refused(HOST, path="/v1/parking").problem
        self.assertEqual("urn:provider-gateway:problem:not-let-in", problem["type"])
        self.assertIn("open the link", problem["detail"])

    def test_token_in_the_address_of_a_post(self) -> None:
        """Only links carry the token: a POST with it in its address is refused."""
        self.assert_refused(HOST, method="POST", path=f"/v1/parking/fib/drop?token={TOKEN}")

    def test_host(self) -> None:
        """Another name of this address (DNS rebinding), another port and a missing Host are refused, token or not."""
        for host in (
            "Host: evil.example",
            f"Host: evil.example:{PORT}",
            "Host: 127.0.0.1",
            "Host: 127.0.0.1:80",
            f"Host: 127.0.0.1.evil.example:{PORT}",
            f"Host: 127.0.0.2:{PORT}",
            f"Host: [::1]:{PORT}",
            f"Host: localhost.:{PORT}",
            f"Host: 127.0.0.1:0{PORT}",
        ):
            self.assert_refused(host, f"Cookie: {COOKIE}")
            self.assert_refused(host, path=f"/workbench?token={TOKEN}")
        self.assert_refused(HOST, f"Cookie: {COOKIE}", path="http://evil.example/workbench")

    def test_origin(self) -> None:
        """A request of a page of another origin is refused, those of another port of this machine included."""
        for origin in (
            "https://evil.example",
            "http://127.0.0.1",
            f"http://127.0.0.1:{PORT + 1}",
            f"https://127.0.0.1:{PORT}",
            f"http://localhost:{PORT}",
            "null",
            "",
        ):
            for method in ("GET", "POST", "OPTIONS"):
                self.assert_refused(HOST, f"Cookie: {COOKIE}", f"Origin: {origin}", method=method)
        self.assert_refused(HOST, "Sec-Fetch-Site: cross-site", "Origin: null", f"Cookie: {COOKIE}", method="POST")
        own = f"Origin: http://127.0.0.1:{PORT}"
        self.assert_refused(HOST, own, "Origin: https://evil.example", f"Cookie: {COOKIE}")
        self.assertEqual(200, self.ask(HOST, own, f"Cookie: {COOKIE}", method="POST").status)

    def test_form(self) -> None:
        """A form of our own page is served: its origin is "null" because our pages send no referrer."""
        self.ask(HOST, "Origin: null", "Sec-Fetch-Site: same-origin", f"Cookie: {COOKIE}", method="POST")
        self.assertEqual(1, len(self.served.requests))

    def test_fetch_metadata(self) -> None:
        """Pages of other origins may link here, and do nothing else: no image, no script, no frame's form."""
        for site in ("cross-site", "same-site"):
            there = (HOST, f"Cookie: {COOKIE}", f"Sec-Fetch-Site: {site}")
            for mode in ("no-cors", "cors", "websocket"):
                self.assert_refused(*there, f"Sec-Fetch-Mode: {mode}")
            self.assert_refused(*there, "Sec-Fetch-Mode: navigate", method="POST")
            self.assertEqual(200, self.ask(*there, "Sec-Fetch-Mode: navigate").status)
            self.served.requests.clear()

    def test_https_listener(self) -> None:
        """A request with an identity came over TLS: it is served as without the guard, and without its operator."""
        self.assertEqual(200, self.ask("Host: gateway", identity=_Identity()).status)
        self.assertEqual([(b"GET", b"/workbench", None)], self.served.requests)

    def test_access_log(self) -> None:
        """The access log has no token."""
        self.ask(HOST, path=f"/workbench?token={TOKEN}")
        self.ask(HOST, path="/workbench?token=almost")
        self.assertEqual(2, self.access_log.text.count("/workbench"))
        self.assertNotIn("token", self.access_log.text)

    def test_fresh_tokens(self) -> None:
        """Each guard has a token of its own, of 32 random bytes."""
        links = {TokenGuard(self.served, port=PORT, operator=None).link for _ in range(2)}
        self.assertEqual(2, len(links))
        self.assertEqual({43}, {len(link.partition("token=")[2]) for link in links})


class _Identity:
    expires = float("inf")

    def __str__(self) -> str:
        return "initiator"
