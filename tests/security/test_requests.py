"""Well-formed requests with an unknown path or method, a body that is not accepted, or a bad routing key."""

from __future__ import annotations

from tests.security.base import SecurityTestCase
from tests.security.client import get, post


class RefusedRequestTests(SecurityTestCase):
    """Each gets its status, and the connection serves the next request."""

    def assert_problem_for(self, status: int, problem: str, *requests: bytes) -> None:
        """Check that each of these requests gets this problem, all on one connection that stays open."""
        with self.connect() as connection:
            for request in requests:
                response = connection.ask(request)
                self.assert_problem(response, status, problem)
                self.assertNotIn("connection", response.headers)
        self.assert_serves()

    def test_unknown_path(self) -> None:
        """An unknown path is 404, whatever it looks like."""
        paths = (
            b"/docs/",
            b"/openapi.yaml",
            b"/v1",
            b"/v1/predict/",
            b"/v2/predict",
            b"/metrics",
            b"/health/ready",
            b"/../etc/passwd",
            b"/%00",
        )
        self.assert_problem_for(404, "not-found", *map(get, paths))
        self.assert_problem_for(
            404, "not-found", post(b"1", target=b"/V1/predict"), post(b"1", target=b"/v1/x/../predict")
        )

    def test_unknown_method(self) -> None:
        """A method that a path does not have is 405 with the methods that it has."""
        for method in (b"GET", b"PUT", b"DELETE", b"PATCH", b"TRACE", b"CONNECT", b"BREW"):
            response = self.ask(get(b"/v1/predict", method))
            self.assert_problem(response, 405, "method-not-allowed")
            self.assertEqual(response.headers["allow"], "OPTIONS, POST")
        self.assert_serves()

    def test_trace_shows_nothing(self) -> None:
        """The response to TRACE does not have the request's headers."""
        with self.connect() as connection:
            response = connection.ask(b"TRACE /health HTTP/1.1\r\nHost: localhost\r\nX-Any: reflected\r\n\r\n")
        self.assertEqual(response.status, 405)
        self.assertNotIn(b"reflected", response.head + response.body)

    def test_content_type(self) -> None:
        """Any content type but JSON in UTF-8, any content coding, and no content type are 415."""
        types = (
            b"text/plain",
            b"application/x-www-form-urlencoded",
            b"multipart/form-data; boundary=a",
            b"application/*",
        )
        requests = [
            post(b"{}", b"Content-Type: " + each) for each in (*types, b"", b"application/json; charset=utf-16")
        ]
        none = post(b"{}").replace(b"Content-Type: application/json\r\n", b"")
        gzip = post(b"{}", b"Content-Encoding: gzip")
        self.assert_problem_for(415, "unsupported-media-type", *requests, none, gzip)

    def test_json(self) -> None:
        """A body that is not JSON is 422."""
        bodies = (
            b"",
            b"{",
            b"{]",
            b"nul",
            b"NaN",
            b"Infinity",
            b"1 2",
            b"{'a': 1}",
            b'{"a": 1,}',
            b"\xef\xbb\xbf{}",
            b"01",
        )
        self.assert_problem_for(422, "invalid-json", *map(post, bodies))

    def test_utf_8(self) -> None:
        """JSON that is not UTF-8 is 422: stray bytes, overlong forms, surrogates, UTF-16."""
        for text in (b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc3"):
            self.assert_problem_for(422, "invalid-json", post(b'{"a": "' + text + b'"}'))
        self.assert_problem_for(422, "invalid-json", post('{"a": 1}'.encode("utf-16")))

    def test_depth(self) -> None:
        """JSON that is nested 100,000 levels deep is 422, of arrays or objects, complete or not; the process lives."""
        deep = 100_000
        bodies = (b"[" * deep + b"]" * deep, b'{"a":' * deep + b"1" + b"}" * deep, b"[" * deep, b'[{"a":' * deep)
        self.assert_problem_for(422, "invalid-json", *map(post, bodies))
        self.assert_healthy()

    def test_depth_at_the_limit(self) -> None:
        """128 levels are served and 129 are 422; brackets within text are no levels."""
        self.assertEqual(self.ask(post(b"[" * 128 + b"]" * 128)).status, 200)
        self.assertEqual(self.ask(post(b'["' + b"[{" * 1000 + b'"]')).status, 200)
        self.model.forget()
        self.assert_problem_for(422, "invalid-json", post(b"[" * 129 + b"]" * 129))

    def test_no_word_of_the_request_in_html(self) -> None:
        """No response is HTML, or could be taken for HTML by a browser."""
        for request in (get(b"/<script>alert(1)</script>"), get(b"/v1/predict?<script>"), post(b"<script>")):
            self.assertEqual(self.ask(request).headers["content-type"], "application/problem+json")


class RoutingKeyTests(SecurityTestCase):
    """Routing keys that are 400."""

    def assert_key_refused(self, *keys: bytes) -> None:
        """Check that each of these keys is refused, for both ways to publish."""
        for key in keys:
            for target in (b"/v1/predict", b"/v1/publish"):
                response = self.ask(post(b"1", b"routing-key: " + key, target=target))
                self.assert_problem(response, 400, "bad-request")
        self.assert_serves()

    def test_wildcards(self) -> None:
        """The wildcards of bindings are refused, alone and within a key."""
        self.assert_key_refused(b"*", b"#", b"predict.*", b"predict.#", b"pre*dict.now", b"predict.now#")

    def test_control_characters(self) -> None:
        """Control characters are refused, even those that HTTP allows."""
        self.assert_key_refused(
            b"predict.\tnow", b"predict.\x01now", b"predict.now\x7f", b"predict.\x1bnow", b"predict.\0now"
        )

    def test_long(self) -> None:
        """A key of more than 255 bytes, counted in UTF-8, is refused; one of 255 is not."""
        self.assert_key_refused(b"predict." + b"a" * 248, b"predict." + "é".encode() * 124)
        longest = b"predict." + b"a" * 247
        self.assertEqual(self.ask(post(b"1", b"routing-key: " + longest)).status, 200)

    def test_empty_or_missing(self) -> None:
        """An empty key is refused; so is a missing one, unless the queue file has a routingKey."""
        self.assert_key_refused(b"")
        missing = post(b"1").replace(b"routing-key: predict.now\r\n", b"")
        self.assert_problem(self.ask(missing), 400, "bad-request")

    def test_several(self) -> None:
        """Two routing-key headers are refused: it is unclear which one counts."""
        both = post(b"1", b"routing-key: predict.now", b"Routing-Key: predict.other")
        self.assert_problem(self.ask(both), 400, "bad-request")
        self.assert_serves()
