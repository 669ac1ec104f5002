"""How spans get to the collector, with a clock of the test and a collector that the test answers for."""

from __future__ import annotations

import gzip
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError as TCPRefused
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.config.masked_url import MaskedURL
from provider_gateway.http_client.errors import ClosedBeforeResponse
from provider_gateway.observability.metrics import Metrics
from provider_gateway.tracing.exporter import Exporter
from tests.support.observability import collect_log, counted


class _Response:
    def __init__(self, status: int) -> None:
        self.code = status
        self.length = 0

    def deliverBody(self, body: Any) -> None:
        body.done.callback(b"")


class _Encoder:
    def encode(self, spans: list[bytes]) -> bytes:
        return b",".join(spans)


class ExporterTests(SynchronousTestCase):
    """An exporter with batches of 3, a queue of 5, a delay of 5 s and a time limit of 10 s."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.metrics = Metrics()
        self.sent: list[tuple[dict[str, str], bytes, bool]] = []
        self.answers: list[Deferred[Any]] = []
        self.log = collect_log(self)
        self.exporter = self.make()

    def make(self, encode: Any = lambda span: span, **changes: Any) -> Exporter:
        values = {"timeout": 10.0, "delay": 5.0, "most": 5, "batch": 3, "compresses": False}
        return Exporter(
            self,  # type: ignore[arg-type] # only send is used
            MaskedURL("http://collector/v1/traces?key=secret"),
            {"api-key": "k"},
            encode,
            _Encoder(),  # type: ignore[arg-type] # as above
            clock=self.clock,
            metrics=self.metrics,
            **{**values, **changes},
        )

    def send(self, headers: dict[str, str], body: bytes, *, needs_new: bool = False) -> Deferred[Any]:
        self.sent.append((headers, body, needs_new))
        self.answers.append(Deferred())
        return self.answers[-1]

    def answer(self, status: int = 200) -> None:
        self.answers[-1].callback(_Response(status))

    def add(self, *spans: bytes) -> None:
        for each in spans:
            self.exporter.add(each)  # type: ignore[arg-type] # spans of these tests are bytes

    def bodies(self) -> list[bytes]:
        return [body for _, body, _ in self.sent]

    def figures(self) -> tuple[float, ...]:
        return tuple(counted(self.metrics.spans, outcome) for outcome in ("exported", "dropped", "failed"))

    def test_delay(self) -> None:
        """Spans wait for the delay, and go together; then nothing is left to do."""
        self.add(b"1", b"2")
        self.clock.advance(4.9)
        self.assertEqual(self.sent, [])
        self.clock.advance(0.1)
        headers = {"api-key": "k", "Content-Type": "application/x-protobuf"}
        self.assertEqual(self.sent, [(headers, b"1,2", False)])
        self.answer()
        self.assertEqual((self.figures(), self.clock.getDelayedCalls()), ((2, 0, 0), []))

    def test_full_batch(self) -> None:
        """A full batch is sent at once; what comes meanwhile follows, one request at a time."""
        self.add(b"1", b"2", b"3", b"4", b"5")
        self.assertEqual(self.bodies(), [b"1,2,3"])
        self.answer()
        self.assertEqual(self.bodies(), [b"1,2,3"])
        self.clock.advance(5)
        self.assertEqual(self.bodies(), [b"1,2,3", b"4,5"])

    def test_bounded(self) -> None:
        """Without room, new spans are dropped and counted. Those that are being sent need room, too."""
        self.add(*(b"%d" % number for number in range(9)))
        self.assertEqual(self.figures(), (0, 4, 0))
        self.answer()
        self.clock.advance(5)
        self.assertEqual(self.bodies(), [b"0,1,2", b"3,4"])

    def test_again(self) -> None:
        """A batch that the collector does not take for now is sent again after 1, 2, 4 and 8 s; then it is given up."""
        self.add(b"1", b"2", b"3")
        for delay in (1, 2, 4, 8):
            self.answer(503)
            self.clock.advance(delay - 0.1)
            count = len(self.sent)
            self.clock.advance(0.1)
            self.assertEqual(len(self.sent), count + 1)
        self.answer(429)
        self.assertEqual((set(self.bodies()), self.figures()), ({b"1,2,3"}, (0, 0, 3)))

    def test_refused(self) -> None:
        """A batch that the collector refuses is not sent again. The first of a row is logged, without secrets."""
        for _ in range(2):
            self.add(b"1", b"2", b"3")
            self.answer(401)
        (line,) = [each for each in self.log if "cannot be sent" in each.get("log_format", "")]
        self.assertEqual((line["reason"], line["url"]), ("HTTP status 401", "http://collector/v1/traces?***"))
        self.assertEqual((len(self.sent), self.figures()), (2, (0, 0, 6)))
        self.add(b"1", b"2", b"3")
        self.answer()
        self.assertEqual(self.log[-1]["log_format"], "Traces can be sent to {url} again")

    def test_no_connection(self) -> None:
        """A collector that cannot be reached, or does not answer, is tried again."""
        self.add(b"1", b"2", b"3")
        self.answers[-1].errback(Failure(TCPRefused()))
        self.clock.advance(1)
        self.assertEqual(len(self.sent), 2)
        self.clock.advance(10)  # no answer
        self.clock.advance(2)
        self.assertEqual(len(self.sent), 3)
        self.answer()
        self.assertEqual(self.figures(), (3, 0, 0))

    def test_idle_connection(self) -> None:
        """A request that goes out on a connection that the collector has just closed is sent on a new one."""
        self.add(b"1", b"2", b"3")
        self.answers[-1].errback(Failure(ClosedBeforeResponse(Failure(TCPRefused()))))
        self.assertEqual([needs_new for *_, needs_new in self.sent], [False, True])

    def test_compressed(self) -> None:
        """With gzip the body says so, and can be read."""
        self.exporter = self.make(compresses=True)
        self.add(b"1", b"2", b"3")
        ((headers, body, _),) = self.sent
        self.assertEqual((headers["Content-Encoding"], gzip.decompress(body)), ("gzip", b"1,2,3"))

    def test_close(self) -> None:
        """At the end what waits is sent at once, all of it, and each batch once."""
        self.add(b"1", b"2", b"3", b"4")
        closed = self.exporter.close()
        self.assertNoResult(closed)
        self.answer(503)
        self.assertEqual(self.bodies(), [b"1,2,3", b"4"])
        self.answer()
        self.successResultOf(closed)
        self.assertEqual((self.figures(), self.clock.getDelayedCalls()), ((1, 0, 3), []))

    def test_after_close(self) -> None:
        """A span that ends after the close, while others are being sent, is sent with them."""
        self.exporter = self.make(most=50, batch=40)
        self.add(b"1")
        closed = self.exporter.close()
        self.add(b"2")
        self.answer()
        self.answer()
        self.successResultOf(closed)
        self.assertEqual((self.bodies(), self.figures()), ([b"1", b"2"], (2, 0, 0)))

    def test_ended_while_closing(self) -> None:
        """Spans that end around the close, while others are being sent, wait for no further ones."""
        self.exporter = self.make(most=50, batch=40)
        self.add(b"1")
        self.clock.advance(5)
        self.add(b"2")
        closed = self.exporter.close()
        self.add(b"3")
        self.answer()
        self.assertEqual(self.bodies(), [b"1", b"2,3"])
        self.answer()
        self.successResultOf(closed)
        self.assertEqual((self.figures(), self.clock.getDelayedCalls()), ((3, 0, 0), []))

    def test_each_delay(self) -> None:
        """The first span after a batch begins another delay, as does one that ended while it was sent."""
        self.exporter = self.make(most=50, batch=40)
        for span in (b"1", b"2"):
            self.add(span)
            self.clock.advance(5)
            self.answer()
        self.add(b"3")
        self.clock.advance(5)
        self.add(b"4")
        self.answer()
        self.clock.advance(5)
        self.assertEqual(self.bodies(), [b"1", b"2", b"3", b"4"])

    def test_encoded_together(self) -> None:
        """Spans are encoded a few at a time, and the last few go after the delay."""
        encoded: list[bytes] = []

        def encode(span: bytes) -> bytes:
            encoded.append(span)
            return span

        self.exporter = self.make(encode, most=2048, batch=512)
        spans = [b"%d" % number for number in range(40)]
        self.add(*spans)
        self.assertEqual(len(encoded), 32)
        self.clock.advance(5)
        self.assertEqual((encoded, self.bodies()), (spans, [b",".join(spans)]))

    def test_close_empty(self) -> None:
        """Without spans there is nothing to wait for."""
        self.successResultOf(self.exporter.close())

    def test_stop(self) -> None:
        """A collector that does not answer cannot keep the process from its end; what waits is counted as dropped."""
        self.add(b"1", b"2", b"3", b"4")
        closed = self.exporter.close()
        self.exporter.stop()
        self.successResultOf(closed)
        self.assertEqual((self.figures(), self.clock.getDelayedCalls()), ((0, 4, 0), []))

    def test_close_while_backing_off(self) -> None:
        """A batch that waits for another try is tried at once, for the last time."""
        self.add(b"1", b"2", b"3")
        self.answer(503)
        closed = self.exporter.close()
        self.assertEqual(len(self.sent), 2)
        self.answer(503)
        self.successResultOf(closed)
        self.assertEqual((self.figures(), self.clock.getDelayedCalls()), ((0, 0, 3), []))

    def test_stop_while_backing_off(self) -> None:
        """Without a close, the stop ends a wait for another try, too."""
        self.add(b"1", b"2", b"3")
        self.answer(503)
        self.exporter.stop()
        self.assertEqual((len(self.sent), self.figures(), self.clock.getDelayedCalls()), (1, (0, 3, 0), []))
