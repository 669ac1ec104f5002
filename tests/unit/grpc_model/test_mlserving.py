"""Tests of ``provider_gateway.grpc_model.mlserving`` against a server of grpcio."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import grpc
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred

from provider_gateway.errors import ModelBusy, ModelFailure, ModelUnreachable, UnsupportedMediaType
from provider_gateway.message.message import Message
from tests.support.grpc_server import GRPCTestCase

if TYPE_CHECKING:
    from provider_gateway.model.model import ModelResponse


class PredictTests(GRPCTestCase):
    """Calls that the server answers."""

    def setUp(self) -> None:
        super().setUp()
        self.made = self.model_at(f"http://localhost:{self.server.port}")
        self.server.methods["Predict"] = lambda _request, _context: b"\x0a\x03[1]"

    async def call(self, message: Message | None = None, timeout: float = 10, **how: Any) -> ModelResponse:
        """Call the model."""
        return await self.made.model.call(message or Message(b"[0]"), "r1", timeout, **how)

    async def test_wire(self) -> None:
        """The request has the fields of the seed's proto: ``details`` with the text headers, ``data`` with the body."""
        response = await self.call(Message(b"[0]", headers={"X-One": "1"}))
        self.assertEqual((response.status, response.body, response.content_type), (200, b"[1]", "application/json"))
        ((method, request, metadata),) = self.server.requests
        self.assertEqual(method, "/mlserving.BaseModelInterface/Predict")
        # protobuf: field 1 is a map, whose entries have key (1) and value (2); field 2 is bytes
        for entry in (
            b"\x0a\x05X-One\x12\x011",
            b"\x0a\x05RqUID\x12\x02r1",
            b"\x0a\x0cContent-Type\x12\x10application/json",
        ):
            self.assertIn(b"\x0a" + bytes([len(entry)]) + entry, request)
        self.assertTrue(request.endswith(b"\x12\x03[0]"), request)
        self.assertEqual(metadata["rquid"], "r1")
        self.assertNotIn("x-one", metadata)

    async def test_headers(self) -> None:
        """``details`` are what HTTP would have: our headers win, a coding is said, what is no text is counted."""
        made = self.model_at(
            f"http://localhost:{self.server.port}", headers={"Authorization": "Bearer t", "X-One": "ours"}
        )
        message = Message(
            b"\xff\0",
            headers={"x-one": "theirs", "X-Ünicode": "1", "X-Latin": "\udcff", "n": 1, "X-Text": "grün"},
            content_type="image/png",
            content_encoding="gzip",
        )
        await made.model.call(message, "r1", 10)
        details = self.details()
        self.assertEqual(
            details,
            {
                "Authorization": "Bearer t",
                "Content-Encoding": "gzip",
                "Content-Type": "image/png",
                "RqUID": "r1",
                "X-One": "ours",
                "X-Text": "grün",
            },
        )
        self.assertEqual(self.unsafe, 2)
        self.assertEqual(self.server.requests[0][2]["authorization"], "Bearer t")
        self.assertTrue(self.server.requests[0][1].endswith(b"\x12\x02\xff\0"))
        malformed = Message(b"1", content_encoding="a b")
        await self.assertFailure(Deferred.fromCoroutine(made.model.call(malformed, "r1", 10)), UnsupportedMediaType)
        self.assertEqual(len(self.server.requests), 1)

    def details(self) -> dict[str, str]:
        """The map of the last request, read by hand."""
        rest, found = self.server.requests[-1][1], {}
        while rest[:1] == b"\x0a":
            entry, rest = rest[2 : 2 + rest[1]], rest[2 + rest[1] :]
            key, value = entry[2 : 2 + entry[1]], entry[2 + entry[1] :]
            found[key.decode()] = value[2:].decode()
        return found

    async def test_answer(self) -> None:
        """Metadata of the answer become headers; gRPC's own, binary ones and those of one hop do not."""

        def predict(_request: bytes, context: grpc.ServicerContext) -> bytes:
            context.send_initial_metadata((("x-first", "1"), ("authorization", "no"), ("x-raw-bin", b"\0")))
            context.set_trailing_metadata((("x-last", "2"), ("x-last", "3")))
            return b""

        self.server.methods["Predict"] = predict
        response = await self.call()
        self.assertEqual(response.headers, {"x-first": "1", "x-last": "2, 3"})
        self.assertEqual(response.body, b"")
        self.server.methods["Predict"] = lambda _request, _context: b"\x0a\x03[1"
        self.assert_reason(await self.failing(), "body", "malformed")

    async def failing(self, kind: type[Exception] = ModelFailure, **how: Any) -> Any:
        """The error of a call."""
        return await self.assertFailure(Deferred.fromCoroutine(self.call(**how)), kind)

    def assert_reason(self, failure: ModelFailure, reason: str, part: str) -> None:
        """Check a failure that is neither busy nor away."""
        self.assertIs(type(failure), ModelFailure)
        self.assertEqual(failure.reason, reason)
        self.assertIn(part, f"{failure.detail} {failure.cause} {failure.model_error}")

    def answers(self, code: grpc.StatusCode, text: str = "so it is", *metadata: tuple[str, str]) -> None:
        """Let the server answer with a status."""

        def abort(_request: bytes, context: grpc.ServicerContext) -> bytes:
            context.set_trailing_metadata(metadata)
            context.abort(code, text)

        self.server.methods["Predict"] = abort

    async def test_rejected(self) -> None:
        """INVALID_ARGUMENT is a 400, NOT_FOUND a 404; the body has the text, as the Open Inference Protocol does."""
        for code, status in ((grpc.StatusCode.INVALID_ARGUMENT, 400), (grpc.StatusCode.NOT_FOUND, 404)):
            self.answers(code, 'wrong "shape"')
            response = await self.call()
            self.assertEqual((response.status, response.content_type), (status, "application/json"))
            self.assertEqual(json.loads(response.body), {"error": 'wrong "shape"'})
            self.assertEqual(response.model_error, 'wrong "shape"')

    async def test_long_texts(self) -> None:
        """A status with a long text, such as a traceback, is what it says, and no error of the caller."""
        for length, reason in ((20_000, "status"), (200_000, "body")):
            for code in (grpc.StatusCode.INTERNAL, grpc.StatusCode.RESOURCE_EXHAUSTED):
                self.answers(code, length * "x", ("retry-after", "1"))
                if (reason, code) == ("status", grpc.StatusCode.RESOURCE_EXHAUSTED):
                    self.assertEqual((await self.failing(ModelBusy)).model_error, 1000 * "x")
                else:
                    self.assert_reason(await self.failing(), reason, "x" if reason == "status" else "too large")

    async def test_busy(self) -> None:
        """RESOURCE_EXHAUSTED is busy, for as long as the server asks for, if it does."""
        for metadata, wait in (
            ((), None),
            ((("retry-after", "7"),), 7),
            ((("grpc-retry-pushback-ms", "1500"),), 1.5),
            ((("grpc-retry-pushback-ms", "-1"),), None),
            ((("grpc-retry-pushback-ms", "9" * 12),), 604_800),
        ):
            self.answers(grpc.StatusCode.RESOURCE_EXHAUSTED, "queue full", *metadata)
            busy = await self.failing(ModelBusy)
            self.assertEqual((busy.wait, busy.model_error), (wait, "queue full"))

    async def test_away(self) -> None:
        """UNAVAILABLE of the server is away."""
        self.answers(grpc.StatusCode.UNAVAILABLE, "no model is loaded")
        away = await self.failing(ModelUnreachable)
        self.assertEqual((away.reason, away.model_error), ("connection", "no model is loaded"))

    async def test_failures(self) -> None:
        """DEADLINE_EXCEEDED of the server is a time-out; every other status a failure that names it.

        The server's time limit was another one than ours: nothing says that ours has passed.
        """
        self.answers(grpc.StatusCode.DEADLINE_EXCEEDED)
        failure = await self.failing()
        self.assert_reason(failure, "timeout", "gRPC status DEADLINE_EXCEEDED")
        self.assertEqual(failure.model_error, "so it is")
        self.assertNotIn("10 s", failure.detail)
        others = set(grpc.StatusCode) - {
            grpc.StatusCode[name]
            for name in (
                "OK",
                "INVALID_ARGUMENT",
                "NOT_FOUND",
                "RESOURCE_EXHAUSTED",
                "UNAVAILABLE",
                "DEADLINE_EXCEEDED",
            )
        }
        for code in others:
            self.answers(code)
            failure = await self.failing()
            self.assert_reason(failure, "status", code.name)
            self.assertEqual(failure.model_error, "so it is")
            self.assertNotIn("so it is", failure.detail)

        def fails(_request: bytes, _context: grpc.ServicerContext) -> bytes:
            raise ValueError

        self.server.methods["Predict"] = fails
        self.assert_reason(await self.failing(), "status", "UNKNOWN")
        del self.server.methods["Predict"]
        self.assert_reason(await self.failing(), "status", "UNIMPLEMENTED")

    async def test_too_large(self) -> None:
        """An answer over the limit is a failure, however far over; one of exactly the limit is none."""
        for size, fits in ((100_000, True), (100_001, False), (200_000, False), (5_000_000, False)):
            body = b"x" * size
            length = bytes([size & 127 | 128, size >> 7 & 127 | 128, size >> 14 & 127 | 128, size >> 21])
            self.server.methods["Predict"] = lambda _request, _context, answer=b"\x0a" + length + body: answer
            if fits:
                self.assertEqual((await self.call()).body, body)
            else:
                self.assert_reason(await self.failing(), "body", "larger than 100000 bytes (MAX_BODY_BYTES)")

    async def test_request_over_the_servers_limit(self) -> None:
        """A request that is too large for the server, or has too many headers, is rejected: the model is not busy."""
        response = await self.call(Message(b"x" * 5_000_000))
        self.assertEqual(response.status, 413)
        self.assertIn("larger than max", json.loads(response.body)["error"])
        response = await self.call(Message(b"1"))
        made = self.model_at(f"http://localhost:{self.server.port}", headers={"X-Large": "x" * 20_000})
        response = await made.model.call(Message(b"1"), "r1", 10)
        self.assertEqual(response.status, 431)

    async def test_room(self) -> None:
        """A large answer waits for room, without a time limit; a small one asks for none. Waiting can be cancelled."""
        asked: list[int] = []
        waiting: Deferred[None] = Deferred()

        def room(size: int) -> Deferred[None]:
            asked.append(size)
            return waiting

        self.assertEqual((await self.call(room=room)).body, b"[1]")
        self.assertEqual(asked, [])
        large = b"x" * 70_000
        self.server.methods["Predict"] = lambda _request, _context: b"\x0a\xf0\xa2\x04" + large
        calling = Deferred.fromCoroutine(self.call(room=room, timeout=1))
        await self.until(lambda: bool(asked))
        self.assertEqual(asked, [70_000])
        await self.later(1.1)
        self.assertNoResult(calling)
        waiting.callback(None)
        self.assertEqual((await calling).body, large)
        asked.clear()
        waiting = Deferred()
        calling = Deferred.fromCoroutine(self.call(room=room))
        await self.until(lambda: bool(asked))
        calling.cancel()
        await self.assertFailure(calling, CancelledError)

    async def until(self, condition: Any) -> None:
        """Wait for a condition, which an event of a thread makes true."""
        while not condition():
            await self.later(0.01)

    def later(self, seconds: float) -> Deferred[None]:
        """A Deferred that fires later."""
        waiting: Deferred[None] = Deferred()
        reactor.callLater(seconds, waiting.callback, None)  # type: ignore[attr-defined] # the module is the reactor
        return waiting


class TimeTests(GRPCTestCase):
    """Calls that do not come to their end."""

    def setUp(self) -> None:
        super().setUp()
        self.made = self.model_at(f"http://localhost:{self.server.port}")
        self.server.methods["Predict"] = self.server.wait

    async def test_timeout(self) -> None:
        """A call over its time limit fails, and ends at the server. The next call has a new connection."""
        calling = Deferred.fromCoroutine(self.made.model.call(Message(b"1"), "r1", 0.3))
        failure = await self.assertFailure(calling, ModelFailure)
        self.assertEqual((type(failure), failure.reason), (ModelFailure, "timeout"))
        self.assertTrue(await self.in_thread(self.server.ended.wait, 10))
        self.server.methods["Predict"] = lambda _request, _context: b""
        await self.made.model.call(Message(b"1"), "r2", 10)
        self.assertEqual(len(self.server.peers), 2)

    async def test_timeout_beside_others(self) -> None:
        """A call that times out where others are answered says nothing about the connection: it stays."""
        self.server.methods["Predict"] = lambda request, context: (
            self.server.wait(request, context) if b"slow" in request else b""
        )
        await self.made.model.call(Message(b"1"), "r1", 10)
        calling = Deferred.fromCoroutine(self.made.model.call(Message(b"slow"), "r1", 0.5))
        await self.made.model.call(Message(b"1"), "r2", 10)
        await self.assertFailure(calling, ModelFailure)
        await self.made.model.call(Message(b"1"), "r3", 10)
        self.assertEqual(len(self.server.peers), 1)

    async def test_cancel(self) -> None:
        """A caller that cancels ends the call at the server, too, before there is a connection and after."""
        calling = Deferred.fromCoroutine(self.made.model.call(Message(b"1"), "r1", 10))
        calling.cancel()
        await self.assertFailure(calling, CancelledError)
        self.server.methods["Predict"] = lambda _request, _context: b""
        await self.made.model.call(Message(b"1"), "r1", 10)
        self.server.methods["Predict"] = self.server.wait
        calling = Deferred.fromCoroutine(self.made.model.call(Message(b"1"), "r1", 10))
        calling.cancel()
        await self.assertFailure(calling, CancelledError)
        await self.in_thread(self.server.ended.wait, 1)
        self.server.methods["Predict"] = lambda _request, _context: b""
        await self.made.model.call(Message(b"1"), "r1", 10)
        self.assertEqual(len(self.server.peers), 1)
