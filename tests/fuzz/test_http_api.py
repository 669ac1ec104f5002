"""The API over HTTP: partly valid requests, and replies of any kind, lead to well-formed responses."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.config.limits import Limits
from provider_gateway.config.queue_file import QueueEntry
from provider_gateway.config.settings import Settings
from provider_gateway.errors import InvalidJSON
from provider_gateway.gateway.api import API
from provider_gateway.gateway.error_forms import error_form
from provider_gateway.gateway.expected_wait import ExpectedWaits
from provider_gateway.gateway.json_body import check_json
from provider_gateway.gateway.offer import Offer
from provider_gateway.gateway.readiness import Readiness
from provider_gateway.http_server.site import GatewaySite
from provider_gateway.message.message import Message
from provider_gateway.observability.metrics import Metrics
from provider_gateway.topology.routing import Routes, checked_routing_key
from tests.fuzz.api_calls import RIGHT, Call, calls, replies
from tests.fuzz.http_peer import Connection
from tests.fuzz.http_streams import split_streams, splits
from tests.fuzz.profiles import fuzzed
from tests.support.fakes import FakePublisher

MAX_BODY = 500

SETTINGS = Settings(_env_file=None, rmq_url="amqp://broker/")


class AnsweringRPC:
    """Gives every call the same reply, and keeps the calls."""

    reply_queue = "response.host-1"

    def __init__(self, reply: Message) -> None:
        self.reply = reply
        self.calls: list[tuple[Message, str]] = []

    async def call(self, message: Message, _exchange: str, routing_key: str) -> Message:
        assert message.properties()
        self.calls.append((message, routing_key))
        return self.reply


class APITests(SynchronousTestCase):
    """A new API with its site for each example."""

    def begin_anew(self, reply: Message, cors: tuple[str, ...] = ()) -> None:
        self.clock, self.metrics = Clock(), Metrics()
        self.rpc, self.publisher = AnsweringRPC(reply), FakePublisher()
        entry = QueueEntry.model_validate({"topic": "ML.MQ", "queueName": "work", "bindingKey": "predict.*"})
        open_ = {"topic": "", "queueName": "tensors", "model": {"name": "m"}, "openInference": True}
        entries = [entry, QueueEntry.model_validate(open_)]
        api = API(
            rpc=self.rpc,
            publisher=self.publisher,
            routes=Routes(entries),
            reply_timeout=90,
            max_in_flight=2,
            max_json_depth=128,
            access_rules=None,
            expected_waits=ExpectedWaits(90, self.clock, self.metrics),
            readiness=Readiness(list, self.clock),
            offer=Offer.of(SETTINGS, entries),
            cors_origins=cors,
            clock=self.clock,
            wall_clock=self.clock.seconds,
            metrics=self.metrics,
        )
        self.site = GatewaySite(api.resource(), self.clock, Limits(max_body_bytes=MAX_BODY), error_form=error_form)

    def assert_left_nothing(self, connection: Connection) -> None:
        connection.leave()
        for *_, confirm in self.publisher.published:
            confirm.callback(None)
        self.clock.advance(90)
        self.assertEqual((self.site.channels, self.site.buffered, self.clock.getDelayedCalls()), (set(), 0, []))
        self.assertEqual(self.flushLoggedErrors(), [])
        in_flight = [sample.value for metric in self.metrics.http_in_flight.collect() for sample in metric.samples]
        self.assertEqual(in_flight, [0])

    @fuzzed(300, data=st.data(), call=calls, cors=st.sampled_from(((), ("*",), ("https://a",))))
    def test_request(self, data: Any, call: Call, cors: tuple[str, ...]) -> None:
        """A request gets one well-formed response; a valid one is published with its own body and key.

        A request with an error is a 4xx, never an internal error; one that needs a result store is a 501.
        """
        self.begin_anew(Message(b"42"), cors)
        connection = Connection(self.site, tls=True)
        for segment in data.draw(splits(call.data)):
            connection.send(segment)
        made = [*self.rpc.calls, *[(message, key) for message, _, key, _ in self.publisher.published]]
        if self.publisher.published:
            self.publisher.confirm()
            self.publisher.published.clear()
        (answer,) = connection.answers([call.method.encode()], all_ours=not call.path.startswith("/v2"))
        needs_store = {"Idempotency-Key", "Webhook"} & {name for name, _ in call.others}
        self.assertTrue(answer.status < 500 or (answer.status == 501 and needs_store), answer.status)
        is_called = call.method == "POST" and answer.status in (200, 202)
        self.assertEqual(len(made), is_called)
        self.assertFalse(is_called and any(name == "routing-key" for name, _ in call.others), "which key is meant?")
        for message, routing_key in made:
            self.assertEqual(message.body, call.body)
            self.assertTrue(call.content_type.strip().lower().startswith("application/json"), call.content_type)
            self.assertEqual((message.content_type, message.headers["Content-Type"]), 2 * ("application/json",))
            self.assertFalse(
                {"gzip", "br", "\xff"} & {value for name, value in call.others if name == "Content-Encoding"}
            )
            key = call.routing_key.strip(" \t")
            self.assertIn(routing_key.encode(), (key.encode("latin-1"), key.encode()))
            check_json(call.body, 128)
            checked_routing_key(routing_key)
            self.assertFalse(
                {each.lower() for each in message.headers} & {"cookie", "authorization", "x-death", "cc", "pg-status"}
            )
            self.assertEqual(message.headers["RqUID"].encode(), answer.headers[b"rquid"])
        self.assert_left_nothing(connection)

    @fuzzed(
        200,
        text=st.one_of(st.sampled_from((b"{}", b'{"a": []}', b"{", b'"\xff"', b"[" * 200)), st.binary(max_size=9)),
        tensors=st.one_of(st.just(b""), st.binary(max_size=40)),
        off=st.one_of(st.just(0), st.integers(-3, 50)),
        size=st.one_of(st.none(), st.just("{}"), st.sampled_from(("", "x", "-{}", "0{}", "{}, {}", "+{}", "{}e9"))),
        spelled=st.sampled_from(("/v2/models/m/infer", "/v2/models/m/versions/1/infer", "/v2/models/%6d/infer?a")),
    )
    def test_tensors(self, text: bytes, tensors: bytes, off: int, size: str | None, spelled: str) -> None:
        """A body of the Open Inference Protocol is published byte for byte if what is to be JSON is JSON.

        Else it is a 4xx in the protocol's form.
        """
        self.begin_anew(Message(b"42"))
        connection = Connection(self.site, tls=True)
        body, count = text + tensors, len(text) + off
        headers = [("Content-Length", len(body))]
        if size is not None:
            headers.append(("Inference-Header-Content-Length", size.replace("{}", str(count))))
        lines = [f"POST {spelled} HTTP/1.1", "Host: a", *[f"{name}: {value}" for name, value in headers], "", ""]
        connection.send("\r\n".join(lines).encode() + body)
        is_valid = size is None or (size in ("{}", "0{}") and 0 <= count <= len(body))
        if is_valid and (size is None or count > 0):
            try:
                check_json(body if size is None else body[:count], 128)
            except InvalidJSON:
                is_valid = False
        (answer,) = connection.answers([b"POST"], all_ours=False)
        if is_valid:
            ((message, key),) = self.rpc.calls
            self.assertEqual((answer.status, message.body, key), (200, body, "tensors"))
        else:
            self.assertEqual((400 <= answer.status < 500, self.rpc.calls), (True, []))
            self.assertIn(b'{"error": "', connection.value())
        self.assert_left_nothing(connection)

    @fuzzed(250, reply=replies)
    def test_reply(self, reply: Message) -> None:
        """For any reply the response is well-formed and has the reply's body, and the next request is served.

        A reply whose status or content coding cannot be read is answered with 502.
        """
        self.begin_anew(reply)
        connection = Connection(self.site, tls=False)
        connection.send(RIGHT.data)
        first = connection.value()
        connection.send(RIGHT.data)
        self.assertEqual((len(self.rpc.calls), len(connection.answers(all_ours=False))), (2, 2))
        head, _, body = first.partition(b"\r\n\r\n")
        status = int(head.split(b" ")[1])
        try:
            expected, coding = reply.status, reply.content_coding()
        except ValueError:
            self.assertEqual((status, json.loads(body)["title"]), (502, "The model failed"))
        else:
            self.assertEqual(status, expected)
            self.assertEqual(body, b"" if status in (204, 205, 304) else reply.body)
            if coding is not None and body:
                self.assertIn(b"\r\nContent-Encoding: %s\r\n" % coding.encode(), head)
        names = [line.partition(b":")[0].lower() for line in head.split(b"\r\n")[1:]]
        self.assertEqual(len(names), len(set(names)))
        self.assertEqual(b"content-length" in names, status not in (204, 304))
        self.assertFalse({b"transfer-encoding", b"connection", b"set-cookie", b"pg-status"} & set(names))
        self.assertIn(b"RqUID: r1", [line.replace(b"Rquid", b"RqUID") for line in head.split(b"\r\n")])
        self.assert_left_nothing(connection)

    @fuzzed(100, segments=split_streams(), reply=replies)
    def test_stream(self, segments: list[bytes], reply: Message) -> None:
        """Streams that are nearly HTTP cause no internal error, and publish nothing: none has a routing key."""
        self.begin_anew(reply)
        connection = Connection(self.site, tls=False)
        for segment in segments:
            connection.send(segment)
        self.assertEqual(self.rpc.calls, [])
        if b"HEAD" not in b"".join(segments):
            self.assertEqual([each.status for each in connection.answers() if each.status >= 500], [])
        self.assert_left_nothing(connection)
