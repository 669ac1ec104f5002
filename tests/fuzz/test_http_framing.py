"""Framing: the server's parser finds the same requests as a second, strict one, however the bytes arrive."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.config.limits import Limits
from provider_gateway.http_server.site import GatewaySite
from tests.fuzz.framing import Sizes, read_requests
from tests.fuzz.http_peer import Asked, Connection, Echo
from tests.fuzz.http_streams import nearly_plain, split_streams, streams
from tests.fuzz.profiles import fuzzed

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_BODY = 20


class Served:
    """A site that received some segments on one connection, and has answered all it could."""

    def __init__(
        self, segments: Iterable[bytes], *, tls: bool = False, go_on_late: bool = True, ends: bool = False
    ) -> None:
        self.clock = Clock()
        self.echo = Echo()
        self.site = GatewaySite(self.echo, self.clock, Limits(max_body_bytes=MAX_BODY))
        self.connection = Connection(self.site, tls=tls)
        for segment in segments:
            self.connection.send(segment)
            while not go_on_late and self.echo.go_on():
                self.connection.carry()
        if ends:
            self.connection.end()
        while self.echo.go_on():
            self.connection.carry()


class FramingTestCase(SynchronousTestCase):
    """Streams of bytes that are sent to a site."""

    def assert_left_nothing(self, served: Served) -> None:
        """A lost connection leaves nothing behind, and no error was logged."""
        served.connection.leave()
        self.assertEqual(
            (served.site.channels, served.site.buffered, served.clock.getDelayedCalls()), (set(), 0, []), "left behind"
        )
        self.assertEqual(self.flushLoggedErrors(), [])


class FramingTests(FramingTestCase):
    """Requests that are read from a stream."""

    @fuzzed(400, stream=streams(), tls=st.booleans())
    def test_same_as_reference(self, stream: bytes, tls: bool) -> None:
        """The application receives the requests that the strict parser finds, byte for byte, and no others.

        Each has one response, in order. A request that the strict parser rejects is rejected with a 4xx. Nothing is
        served behind a rejected request, or behind one that ends the connection.
        """
        reading, served = read_requests(stream, Sizes(MAX_BODY)), Served([stream], tls=tls)
        requests = [*reading.requests, *([reading.rejected] if reading.rejected is not None else [])]
        answers = served.connection.answers(each.method or None for each in requests)
        given = [
            Asked(request.method, request.target, request.path.partition(b"?")[0], request.host, request.body)
            for request, answer in zip(reading.requests, answers, strict=False)
            if answer.status == 200 and request.target != b"*"
        ]
        self.assertEqual(served.echo.asked, given)
        self.assertEqual(
            [400 <= each.status < 500 for each in answers[len(reading.requests) :]], [True] * bool(reading.rejected)
        )
        self.assertEqual(len(answers[: len(reading.requests)]), len(reading.requests))
        for request, answer in zip(reading.requests, answers, strict=False):
            self.assertEqual(answer.was_told_to_go_on, request.asks_first)
        self.assert_left_nothing(served)

    @fuzzed(250, segments=split_streams(), tls=st.booleans(), go_on_late=st.booleans())
    def test_split(self, segments: list[bytes], tls: bool, go_on_late: bool) -> None:
        """The same bytes get the same responses, whatever the segments, and however fast the application answers."""
        whole, parts = Served([b"".join(segments)], tls=tls), Served(segments, tls=tls, go_on_late=go_on_late)
        self.assertEqual(parts.connection.transcript(), whole.connection.transcript())
        self.assertEqual(parts.echo.asked, whole.echo.asked)
        self.assert_left_nothing(parts)
        self.assert_left_nothing(whole)

    @fuzzed(80, stream=st.one_of(streams(), nearly_plain()), tls=st.booleans())
    def test_every_split(self, stream: bytes, tls: bool) -> None:
        """The same bytes in two segments, cut anywhere, are read alike to the last header."""
        whole = Served([stream], tls=tls)
        for at in range(1, len(stream)):
            parts = Served([stream[:at], stream[at:]], tls=tls)
            self.assertEqual(parts.connection.transcript(), whole.connection.transcript(), at)
            self.assertEqual((parts.echo.asked, parts.echo.headers), (whole.echo.asked, whole.echo.headers), at)
            self.assertEqual(parts.connection.protocol.state, whole.connection.protocol.state, at)
            self.assert_left_nothing(parts)

    @fuzzed(250, segments=split_streams(), tls=st.booleans(), go_on_late=st.booleans())
    def test_half_close(self, segments: list[bytes], tls: bool, go_on_late: bool) -> None:
        """A client that half-closes its connection gets the responses to all it has sent, and then the end."""
        whole = Served(segments, tls=tls)
        served = Served(segments, tls=tls, go_on_late=go_on_late, ends=True)
        self.assertEqual(served.connection.transcript(), whole.connection.transcript())
        self.assertEqual(served.echo.asked, whole.echo.asked)
        self.assertTrue(served.connection.disconnecting)
        self.assert_left_nothing(served)

    @fuzzed(
        150,
        segments=split_streams(),
        pauses=st.lists(st.sampled_from((0, 0, 1, 2.5, 12, 70)), max_size=12),
        tls=st.booleans(),
    )
    def test_time(self, segments: list[bytes], pauses: list[float], tls: bool) -> None:
        """Whatever a client sends, and whenever it pauses, its responses are HTTP, and nothing is left behind."""
        served = Served([], tls=tls)
        pauses += [0] * len(segments)
        for segment, pause in zip(segments, pauses, strict=False):
            served.connection.send(segment)
            served.clock.advance(pause)
        while served.echo.go_on():
            served.connection.carry()
        stream = b"".join(segments)
        if b"HEAD" not in stream:
            served.connection.answers()
        self.assert_left_nothing(served)

    @fuzzed(100, segments=split_streams(), after=st.integers(0, 8), tls=st.booleans())
    def test_client_that_leaves(self, segments: list[bytes], after: int, tls: bool) -> None:
        """A client may leave at any time, in the middle of a request or of a response, and leaves nothing behind."""
        served = Served([], tls=tls)
        for segment in segments[:after]:
            served.connection.send(segment)
        self.assert_left_nothing(served)
        self.assertFalse(served.echo.go_on())

    @fuzzed(100, stream=streams(), junk=st.binary(max_size=40), tls=st.booleans())
    def test_rejected_is_the_end(self, stream: bytes, junk: bytes, tls: bool) -> None:
        """Nothing is answered behind a rejected request: neither junk nor a well-formed request."""
        served = Served([stream], tls=tls)
        if served.connection.protocol.state != "rejected":
            return
        before = served.connection.value(), list(served.echo.asked)
        for more in (junk, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n7", junk):
            served.connection.send(more)
        self.assertFalse(served.echo.go_on())
        self.assertEqual((served.connection.value(), served.echo.asked), before)
        self.assert_left_nothing(served)
