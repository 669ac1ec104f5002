"""Requests with too large headers or bodies: refused before they take memory, and the connection ends."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tests.security.base import SecurityTestCase
from tests.security.client import get, post

if TYPE_CHECKING:
    from tests.security.base import Deployment

MAX_BODY, MAX_BUFFERED = 100_000, 250_000
MAX_HEADERS, MAX_HEADER_BYTES = 100, 16_384
#: Header lines of a usual request.
USUAL = 4
CHUNKED = b"Transfer-Encoding: chunked"


def chunked(*headers: bytes) -> bytes:
    """The head of a request with a chunked body."""
    head = post(b"", CHUNKED, *headers).replace(b"Content-Length: 0\r\n", b"")
    assert b"Content-Length" not in head
    return head


def chunk(data: bytes) -> bytes:
    """One chunk of a body."""
    return b"%x\r\n%s\r\n" % (len(data), data)


class SizesTestCase(SecurityTestCase):
    """Small limits for bodies, the usual ones for headers."""

    @classmethod
    def variables(cls, deployment: Deployment) -> dict[str, str]:
        """Limits."""
        return {"MAX_BODY_BYTES": str(MAX_BODY), "MAX_BUFFERED_BYTES": str(MAX_BUFFERED)}


class HeadersTests(SizesTestCase):
    """HTTP_MAX_HEADERS and HTTP_MAX_HEADER_BYTES."""

    def assert_too_large(self, *requests: bytes) -> None:
        """Check that each of these requests is refused."""
        self.assert_refused(431, "headers-too-large", *requests)

    def test_too_many(self) -> None:
        """More than 100 header lines are refused; 100 are not."""
        lines = [b"X-%d: a" % number for number in range(MAX_HEADERS)]
        self.assert_too_large(post(b"1", *lines[USUAL - 1 :]))
        allowed = get(b"/health").removesuffix(b"\r\n") + b"\r\n".join([*lines[1:], b"", b""])
        self.assertEqual(self.ask(allowed).status, 200)

    def test_long_line(self) -> None:
        """A header line of more than 16 KiB is refused, with or without an end."""
        line = b"X-Any: " + b"a" * MAX_HEADER_BYTES
        self.assert_too_large(post(b"1", line), post(b"1", line * 3))

    def test_large_together(self) -> None:
        """Header lines of more than 16 KiB together are refused."""
        self.assert_too_large(post(b"1", *[b"X-%d: " % number + b"a" * 1000 for number in range(17)]))

    def test_long_target(self) -> None:
        """A request line of more than 16 KiB is refused."""
        self.assert_too_large(post(b"1", target=b"/v1/predict?" + b"a" * MAX_HEADER_BYTES))

    def test_endless_line(self) -> None:
        """A line that never ends is refused as soon as it is too long; later bytes are dropped."""
        connection = self.connect()
        for _ in range(20):
            connection.send(b"a" * 1000)
        response = connection.response()
        self.assert_problem(response, 431, "headers-too-large")
        connection.send(b"a" * 100_000 + b"\r\n\r\n" + post(b"2"))
        self.assertEqual(connection.finish(), b"")
        self.assert_serves()

    def test_limit_of_each_request(self) -> None:
        """The limits apply to each request: several requests near them are served on one connection."""
        with self.connect() as connection:
            for _ in range(3):
                self.assertEqual(connection.ask(post(b"1", b"X-Any: " + b"a" * 15_000)).status, 200)


class BodyTests(SizesTestCase):
    """MAX_BODY_BYTES and MAX_BUFFERED_BYTES."""

    def test_declared(self) -> None:
        """A Content-Length over the limit is refused after the headers, before any of the body is sent."""
        for length in (MAX_BODY + 1, 10**12, 10**18, 10**4000):
            connection = self.connect()
            self.assert_problem(connection.ask(post(b"", length=length)), 413, "body-too-large")
            connection.send(post(b"2"))
            self.assertEqual(connection.finish(), b"")
        self.assert_serves()

    def test_chunked(self) -> None:
        """A chunked body is refused as soon as it is over the limit, before its end."""
        connection = self.connect()
        connection.send(chunked() + chunk(b"1" * (MAX_BODY // 2)) * 2)
        connection.send(chunk(b"1"))
        response = connection.response()
        self.assert_problem(response, 413, "body-too-large")
        self.assertEqual(response.headers["connection"], "close")
        connection.send(b"0\r\n\r\n" + post(b"2"))
        self.assertEqual(connection.finish(), b"")
        self.assert_serves()

    def test_chunk_that_does_not_end(self) -> None:
        """A chunk of enormous size is refused when its received bytes are over the limit."""
        connection = self.connect()
        connection.send(chunked() + b"ffffffffffffffff\r\n" + b"1" * (MAX_BODY + 1))
        self.assert_problem(connection.response(), 413, "body-too-large")
        self.assertEqual(connection.finish(), b"")
        self.assert_serves()

    def test_expect_declared(self) -> None:
        """Expect: 100-continue with a length over the limit gets 413, and no 100 before it."""
        connection = self.connect()
        response = connection.ask(post(b"", b"Expect: 100-continue", length=MAX_BODY + 1))
        self.assert_problem(response, 413, "body-too-large")
        self.assertEqual(connection.finish(), b"")
        self.assert_serves()

    def test_expect_chunked(self) -> None:
        """Expect: 100-continue with a chunked body gets 100, as its size is unknown, and 413 over the limit."""
        connection = self.connect()
        go_on = connection.ask(chunked(b"Expect: 100-continue"))
        self.assertEqual((go_on.status, go_on.headers), (100, {}))
        self.assert_problem(connection.ask(chunk(b"1" * (MAX_BODY + 1))), 413, "body-too-large")
        self.assertEqual(connection.finish(), b"")
        self.assert_serves()

    def test_expect_with_room(self) -> None:
        """Expect: 100-continue with an allowed length gets 100, and the response after the body."""
        with self.connect() as connection:
            self.assertEqual(connection.ask(post(b"", b"Expect: 100-continue", length=1)).status, 100)
            self.assertEqual(connection.ask(b"1").body, b"1")

    def test_largest(self) -> None:
        """A body of just the limit is served, declared or chunked."""
        body = b"[" + b" " * (MAX_BODY - 2) + b"]"
        self.assertEqual(self.ask(post(body)).body, body)
        self.assertEqual(self.ask(chunked() + chunk(body) + b"0\r\n\r\n").body, body)

    def test_many_at_once(self) -> None:
        """All bodies together take at most MAX_BUFFERED_BYTES: one more is 503 until there is room."""
        waiting = [self.connect() for _ in range(2)]
        for connection in waiting:
            connection.send(post(b"[" + b" " * (MAX_BODY - 2), length=MAX_BODY))
        self.assert_healthy()  # so the gateway has read all earlier bytes
        refused = self.connect().ask(post(b"", length=MAX_BODY))
        self.assert_problem(refused, 503, "too-many-requests-in-flight")
        self.assertEqual((refused.headers["retry-after"], refused.headers["connection"]), ("1", "close"))
        for connection in waiting:
            self.assertEqual(connection.ask(b"]").status, 200)
        self.model.forget()
        self.assert_serves()
        self.assertEqual(self.ask(post(b"[" + b" " * (MAX_BODY - 2) + b"]")).status, 200)

    def test_memory(self) -> None:
        """A client that goes on sending after the refusal takes no more memory."""
        self.assert_serves()
        before = self.resident()
        connection = self.connect()
        self.assert_problem(connection.ask(post(b"", length=10**9)), 413, "body-too-large")
        sent = 0
        try:
            for _ in range(1000):
                connection.send(b"1" * 65536)
                sent += 65536
        except OSError:
            pass  # the time to read the response is over
        self.assertGreater(sent, 10_000_000)
        self.assertLess(self.resident() - before, 5_000_000)

    def resident(self) -> int:
        """The resident memory of the gateway, in bytes."""
        status = Path(f"/proc/{self.gateway.pid}/status").read_text(encoding="ascii")
        return 1024 * int(next(line for line in status.splitlines() if line.startswith("VmRSS:")).split()[1])
