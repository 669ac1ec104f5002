"""The seam to treq: what an agent below treq is given for a POST, and that treq adds nothing to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent
from zope.interface import implementer

from provider_gateway.http_client.treq_post import FixedURL, RequestHeaders, TreqClient, TreqPost

if TYPE_CHECKING:
    from collections.abc import Callable


class Response:
    """A response that sets a cookie."""

    code = 200

    def __init__(self) -> None:
        self.headers = Headers({b"Set-Cookie": [b"session=secret; Path=/"]})


@implementer(IAgent)
class Recorder:
    """Keeps what it is asked for."""

    def __init__(self) -> None:
        self.requests: list[tuple[bytes, bytes, Any, Any]] = []
        self.answer: Callable[[], Deferred[Response]] = lambda: succeed(Response())

    def request(self, method: bytes, uri: bytes, headers: Any = None, bodyProducer: Any = None) -> Any:
        self.requests.append((method, uri, headers, bodyProducer))
        return self.answer()


class TreqPostTests(SynchronousTestCase):
    """POSTs through a real treq client."""

    def setUp(self) -> None:
        self.agent = Recorder()
        self.client = TreqClient(self.agent)

    def send(self, url: str = "http://model/predict?v=1", body: bytes = b"[1]") -> tuple[bytes, bytes, Any, Any]:
        """What the agent is asked for."""
        post = TreqPost(self.client, url)
        self.assertEqual(self.successResultOf(post.send({"X-A": "1", "RqUID": "r"}, body)).code, 200)
        return self.agent.requests[-1]

    def test_nothing_is_added(self) -> None:
        """Method, URL, headers and body arrive as given: no cookie, no Accept-Encoding, the same bytes object."""
        body = b"12"
        method, url, headers, sent = self.send(body=body)
        self.assertEqual((method, url), (b"POST", b"http://model/predict?v=1"))
        self.assertIsInstance(headers, RequestHeaders)
        self.assertEqual(headers.lines, b"X-A: 1\r\nRqUID: r\r\n")
        self.assertEqual(list(headers.getAllRawHeaders()), [])
        self.assertIs(sent, body)

    def test_response_goes_past_treq(self) -> None:
        """The caller gets the agent's own Deferred, so that treq's objects do not wait for the response."""
        answered: Deferred[Response] = Deferred()
        self.agent.answer = lambda: answered
        self.assertIs(answered, TreqPost(self.client, "http://model/").send({}, b"1"))

    def test_no_body(self) -> None:
        """An empty body is none to treq: the agent is told of no body."""
        self.assertIsNone(self.send(body=b"")[3])

    def test_host_name(self) -> None:
        """A host name in another script is encoded (IDNA); a path in another script in percent-encoded UTF-8."""
        _, url, _, _ = self.send("http://modell\u00fc.example:81/f\u00fcr")
        self.assertEqual(url, b"http://xn--modell-8ya.example:81/f%C3%BCr")

    def test_odd_hosts(self) -> None:
        """A host with underscores, an odd hyphen or a dot at its end stays as it is; so does an IPv6 address."""
        for host in ("ml_model", "ab--c", "-m-", "model.", "[::1]", "127.0.0.1"):
            self.assertEqual(self.send(f"http://{host}:81/p%zz?q")[1], f"http://{host}:81/p%zz?q".encode())

    def test_other_methods(self) -> None:
        """The other methods of treq are sent in the same way."""
        headers = RequestHeaders({"X": "1"})
        for method in ("get", "head", "put", "delete"):
            self.successResultOf(getattr(self.client, method)(FixedURL.of("http://model/"), headers=headers))
            self.assertEqual((method.upper().encode(), b"http://model/", headers, None), self.agent.requests[-1])

    def test_injection(self) -> None:
        """A line end or NUL in a name or a value is an error: it would break the request's lines."""
        for headers in ({"X": "a\r\nY: b"}, {"X": "a\nb"}, {"X": "a\rb"}, {"X": "a\0"}, {"X\r\nY": "a"}, {"X": "\n\r"}):
            self.assertRaises(ValueError, RequestHeaders, headers)

    def test_same_names(self) -> None:
        """Of names that differ in their case only, the last one is sent."""
        self.assertEqual(RequestHeaders({"X-A": "1", "x-a": "2"}).lines, b"x-a: 2\r\n")
