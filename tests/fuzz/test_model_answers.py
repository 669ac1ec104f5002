"""Whatever a model sends, in whatever segments: a call ends with a response or a ModelFailure.

A connection is used again only after a complete response with nothing after it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionLost
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.errors import ModelFailure, UnsupportedMediaType
from provider_gateway.http_client.treq_post import RequestHeaders
from provider_gateway.message.http_headers import bytes_of, headers_to_http, safe_content_type
from provider_gateway.message.ids import RQUID
from provider_gateway.message.message import Message
from provider_gateway.model.model import ModelResponse
from tests.fuzz.headers import table
from tests.fuzz.http_streams import splits
from tests.fuzz.model_answers import answer_streams, framed
from tests.fuzz.profiles import fuzzed
from tests.support.model_peer import MAX_BODY, ModelTestCase, ModelTransport, response

if TYPE_CHECKING:
    from collections.abc import Iterable

_split_streams = answer_streams().flatmap(splits)
_TIMEOUT = 30


class Asked:
    """A new client with one call, for which the model sends some segments.

    Args:
        is_closed: True if the model then closes the connection.
        is_reset: True if the model then resets it.
    """

    def __init__(self, segments: Iterable[bytes], *, is_closed: bool = False, is_reset: bool = False) -> None:
        self.case = ModelTestCase("run")
        self.case.setUp()
        self.results: list[Any] = []
        self.calling = self.call()
        self.transport = self.case.accept()
        for segment in segments:
            self.transport.respond(segment)
        if is_closed or is_reset:
            self.transport.close(ConnectionLost() if is_reset else None)

    def call(self) -> Deferred[ModelResponse]:
        calling = self.case.call(timeout=_TIMEOUT)
        calling.addBoth(self.results.append)
        return calling

    def outcome(self) -> Any:
        """The call's response; or the reason and type of its failure; or None while it waits."""
        if not self.results:
            return None
        result = self.results[0]
        return result if isinstance(result, ModelResponse) else (result.value.reason, result.type)

    def reuses(self) -> bool:
        """True if the next call uses the same connection."""
        connections = len(self.case.reactor.tcpClients)
        self.transport.clear()
        self.call()
        return len(self.case.reactor.tcpClients) == connections


class AnswerTests(SynchronousTestCase):
    """Streams of bytes from a model."""

    def assert_known(self, outcome: Any) -> None:
        self.assertTrue(isinstance(outcome, ModelResponse) or outcome[1] is ModelFailure, outcome)

    @fuzzed(150, segments=_split_streams, is_closed=st.booleans())
    def test_ends(self, segments: list[bytes], is_closed: bool) -> None:
        """Each call ends, by its time limit, with a response or a ModelFailure; no log line and no timer is left."""
        asked = Asked(segments, is_closed=is_closed)
        if is_closed:
            self.assertEqual(len(asked.results), 1)
        asked.case.reactor.advance(_TIMEOUT)
        self.assert_known(asked.outcome())
        asked.case.reactor.advance(_TIMEOUT)
        self.assertTrue(asked.transport.disconnecting or is_closed)
        self.assertEqual(asked.case.reactor.getDelayedCalls(), [])
        self.assertEqual(self.flushLoggedErrors(), [])

    @fuzzed(150, stream=answer_streams(), data=st.data(), is_closed=st.booleans())
    def test_split(self, stream: bytes, data: st.DataObject, is_closed: bool) -> None:
        """The outcome does not depend on the segments in which the bytes arrive."""
        segments = data.draw(splits(stream))
        whole, parts = Asked([stream], is_closed=is_closed), Asked(segments, is_closed=is_closed)
        self.assertEqual(parts.outcome(), whole.outcome())

    @fuzzed(200, stream=answer_streams())
    def test_same_as_reference(self, stream: bytes) -> None:
        """A response that ended before its connection is the one that the reference reader finds, and complete."""
        asked = Asked([stream])
        outcome, found = asked.outcome(), framed(stream)
        if isinstance(outcome, ModelResponse):
            assert found is not None
            self.assertEqual((outcome.status, outcome.body), (found.status, found.body))

    @fuzzed(150, segments=_split_streams)
    def test_reset(self, segments: list[bytes]) -> None:
        """A response on a connection that is reset counts only if its end does not depend on the connection's."""
        asked = Asked(segments, is_reset=True)
        outcome, found = asked.outcome(), framed(b"".join(segments))
        self.assert_known(outcome)
        if isinstance(outcome, ModelResponse):
            assert found is not None
            self.assertEqual((outcome.status, outcome.body), (found.status, found.body))

    @fuzzed(250, segments=_split_streams)
    def test_connection_is_used_again(self, segments: list[bytes]) -> None:
        """A connection is used again only after a response that is complete, persistent, and followed by nothing."""
        asked = Asked(segments)
        if not asked.results:
            return
        found = framed(b"".join(segments))
        if asked.reuses():
            assert found is not None
            self.assertTrue(found.is_persistent)
            self.assertEqual(found.rest.strip(b"\r\n"), b"")
            asked.transport.respond(response(200, b"second"))
            self.assertEqual(asked.results[1].body, b"second")
        else:
            self.assertTrue(asked.transport.disconnecting)

    @fuzzed(80, segments=_split_streams, after=st.integers(0, 6), by_deadline=st.booleans())
    def test_cancelled(self, segments: list[bytes], after: int, by_deadline: bool) -> None:
        """A call that is cancelled while it waits drops its connection, whatever arrived before and arrives later."""
        asked = Asked(segments[:after])
        if asked.results:
            return
        if by_deadline:
            asked.case.reactor.advance(_TIMEOUT)
            self.assertEqual(asked.outcome(), ("timeout", ModelFailure))
        else:
            asked.calling.cancel()
            self.assertIs(asked.results[0].type, CancelledError)
        self.assertTrue(asked.transport.disconnecting)
        self.assertFalse(asked.reuses())
        for segment in segments[after:]:
            asked.transport.respond(segment)
        asked.transport.close()
        self.assertEqual((len(asked.results), self.flushLoggedErrors()), (1, []))

    @fuzzed(80, junk=st.one_of(st.binary(min_size=1, max_size=40), answer_streams().filter(bool)))
    def test_unasked(self, junk: bytes) -> None:
        """Bytes on an idle connection drop it; the next call gets its own response on another connection."""
        asked = Asked([response(200, b"1")])
        asked.transport.respond(junk)
        self.assertTrue(asked.transport.disconnecting)
        self.assertFalse(asked.reuses())
        other = asked.case.accept()
        other.respond(response(200, b"2"))
        self.assertEqual([each.body for each in asked.results], [b"1", b"2"])

    @fuzzed(50, size=st.integers(0, 3 * MAX_BODY), segments=st.data(), is_chunked=st.booleans())
    def test_size(self, size: int, segments: st.DataObject, is_chunked: bool) -> None:
        """A body within its limit is accepted, in whatever segments; a larger one is a failure."""
        body = b"x" * size
        data = response(200, body)
        if is_chunked:
            data = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (size, body)
            data = data if size else data.replace(b"0\r\n\r\n", b"", 1)
        outcome = Asked(segments.draw(splits(data))).outcome()
        if size <= MAX_BODY:
            self.assertEqual(outcome.body, body)
        else:
            self.assertEqual(outcome, ("body", ModelFailure))


class RequestTests(SynchronousTestCase):
    """The request that is sent for a message."""

    @fuzzed(150, headers=table, body=st.binary(max_size=20), content_type=st.one_of(st.none(), st.text(max_size=12)))
    def test_request(self, headers: dict[str | bytes, object], body: bytes, content_type: str | None) -> None:
        """The request has the message's headers that travel, ours and no others, each on one line, and its body."""
        case = ModelTestCase("run")
        case.setUp()
        calling = case.call(headers=headers, body=body, content_type=content_type)
        try:
            coding = Message(body, headers).content_coding()
        except ValueError:
            self.failureResultOf(calling, UnsupportedMediaType)
            self.assertEqual(case.reactor.tcpClients, [])
            return
        transport: ModelTransport = case.accept()
        first, sent, sent_body = transport.request()
        self.assertEqual((first, sent_body), (b"POST /predict?v=1 HTTP/1.1", body))
        in_headers = [
            value for name, value in headers.items() if isinstance(name, str) and name.lower() == "content-type"
        ]
        declared: Any = content_type if content_type is not None or not in_headers else in_headers[0]
        expected = {name.lower().encode(): [bytes_of(value)] for name, value in headers_to_http(headers).items()}
        expected |= {
            b"content-type": [safe_content_type(declared).encode()],
            RQUID.lower().encode(): [b"r1"],
            b"host": [b"127.0.0.1:8080"],
            b"accept-encoding": [b"identity"],
            b"content-length": [b"%d" % len(body)],
        }
        if coding is not None:
            expected[b"content-encoding"] = [coding.encode()]
        self.assertEqual(sent, expected)

    @fuzzed(
        200, name=st.text(max_size=6), value=st.text(max_size=8), bad=st.sampled_from("\r\n\0"), at=st.integers(0, 9)
    )
    def test_injection(self, name: str, value: str, bad: str, at: int) -> None:
        """A line end or NUL in a name or a value is an error where the lines are put together."""
        for headers in ({name: value[:at] + bad + value[at:]}, {name[:at] + bad + name[at:]: value}):
            self.assertRaises(ValueError, RequestHeaders, headers)
