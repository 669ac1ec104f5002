"""The HTTP API, from bytes to bytes: published messages and responses."""

from __future__ import annotations

import json

from twisted.logger import LogEvent, globalLogPublisher

from provider_gateway.errors import (
    BrokerBlocked,
    BrokerUnavailable,
    DeadlinePassed,
    GatewayError,
    ModelFailure,
    Nacked,
    NoRoute,
    OutcomeUnknown,
)
from provider_gateway.gateway import api, json_structure, request_message
from provider_gateway.message.message import Message
from tests.support.api import KEY, APITestCase
from tests.support.http_client import Client
from tests.support.observability import counted


class LogTests(APITestCase):
    """The log line of a request that was answered."""

    def test_answered(self) -> None:
        """If it is switched on, a line at the level "debug" has the request's ids; else there is none."""
        for wanted in (False, True):
            self.patch(self.api, "_logs_responses", wanted)
            events: list[LogEvent] = []
            globalLogPublisher.addObserver(events.append)
            self.addCleanup(globalLogPublisher.removeObserver, events.append)
            self.answered(Message(body=b"1"), KEY, "RqUID: r1")
            found = [each for each in events if each["log_format"] == "answered"]
            globalLogPublisher.removeObserver(events.append)
            self.assertEqual(int(wanted), len(found))
        (event,) = found
        self.assertEqual(
            ("debug", "r1", "predict.now", self.rpc.calls[-1][0].correlation_id),
            (event["log_level"].name, event["rquid"], event["routing_key"], event["correlation_id"]),
        )

    def test_content_is_not_kept(self) -> None:
        """A waiting request has let go of its headers and body."""
        client = self.post(KEY, "X-a: b")
        request = client.protocol.request
        assert request is not None
        self.assertEqual((None, []), (request.content, list(request.requestHeaders.getAllRawHeaders())))
        self.rpc.replies[0].callback(Message(body=b"1"))
        self.assertEqual(client.response().body, b"1")


class LargeBodyTests(APITestCase):
    """Large bodies are checked in turns."""

    def setUp(self) -> None:
        super().setUp()
        for module in (api, request_message):
            self.patch(module, "LARGE", 100)
        self.patch(json_structure, "PIECE", 50)

    def turn(self) -> None:
        """One turn of the reactor. Clock.advance would also make the calls that are added meanwhile."""
        for call in self.clock.getDelayedCalls():
            if call.getTime() <= self.clock.seconds():
                function, args, kw = call.func, call.args, call.kw
                call.cancel()
                function(*args, **kw)

    def test_queue_becomes_too_long(self) -> None:
        """A request whose turns take long is refused if the queue is too long by then: only one of them is taken."""
        expected = self.expected_waits.of("predict.now")
        calls = [expected.begin() for _ in range(2)]
        self.clock.advance(90)
        for began in calls:
            expected.expire(began)
        self.addCleanup(self.post(body=b"[" + b"1," * 100 + b"1]").leave)
        large = self.post(body=b"[" + b"1," * 100 + b"1]")
        while not self.rpc.calls:
            self.turn()
        expected.begin()  # as the client of RPC does
        for _ in range(20):
            self.turn()
        self.assert_problem(large, 503, "queue-too-long")
        self.assertEqual(len(self.rpc.calls), 1)

    def test_turns(self) -> None:
        """Small requests are served while large ones are checked, one piece of one of them in a turn."""
        body = b"[" + b"1," * 100 + b"1]"
        large = [self.post(body=body), self.post(body=body, path="/v1/publish")]
        self.patch(self.api.admission, "_max_in_flight", 3)
        turns = 0
        while not (self.rpc.calls and self.publisher.published):
            served = len(self.rpc.calls)
            small = self.post(body=b"2")
            self.assertEqual(b"2", self.rpc.calls[-1][0].body)
            self.assertEqual(served + 1, len(self.rpc.calls))
            small.leave()
            del self.rpc.calls[-1]
            self.turn()
            turns += 1
        self.assertIn(turns, range(8, 20))
        self.assertEqual((body, body), (self.rpc.calls[0][0].body, self.publisher.published[0][0].body))
        self.assertEqual(2, len(large))

    def test_refused(self) -> None:
        """A large body that is not JSON, too deep, or declared as something else is refused as a small one is."""
        for body, detail in (
            (b"[" + b"1," * 100 + b"]", "JSON is malformed: trailing comma in array (byte 201)."),
            (b"[1," * 150 + b"1" + b"]" * 150, "The body is nested more than 128 levels deep (MAX_JSON_DEPTH)."),
        ):
            for path in ("/v1/predict", "/v1/publish"):
                client = self.post(body=body, path=path)
                while not client.value():
                    self.turn()
                self.assertEqual(detail, self.assert_problem(client, 422, "invalid-json").problem["detail"])
        client = self.post(KEY, "Content-Type: text/plain", body=b" " * 200)
        self.assert_problem(client, 415)

    def test_caller_leaves(self) -> None:
        """The check of a body whose caller leaves ends; others go on."""
        body = b"[" + b"1," * 300 + b"1]"
        first, _second = self.post(body=body), self.post(body=body)
        self.turn()
        first.leave()
        turns = 0
        while not self.rpc.calls:
            self.turn()
            turns += 1
        self.assertIn(turns, range(10, 20))
        self.assertEqual(1, len(self.rpc.calls))


class RequestTests(APITestCase):
    """The message that is published for a request."""

    def test_call(self) -> None:
        """A message is published to the exchange of its routing key."""
        self.post(KEY)
        ((message, exchange, routing_key),) = self.rpc.calls
        self.assertEqual((exchange, routing_key), ("ML.MQ", "predict.now"))
        self.assertEqual((message.reply_to, message.content_type), ("response.host-1", "application/json"))

    def test_body(self) -> None:
        """The body is forwarded byte for byte, with big integers, spaces and escapes as the caller wrote them."""
        body = b' {"n":  1234567890123456789012345678901234567890, "e": 1e999, "s": "\\u00e9\xc3\xa9"}\n'
        self.post(KEY, body=body)
        self.assertEqual(self.rpc.calls[0][0].body, body)

    def test_any_json_value(self) -> None:
        """Any JSON value can be a body, such as an integer of very many digits."""
        for body in (b"null", b"0", b'"x"', b"[]", b"9" * 10_000):
            self.post(KEY, body=body).leave()
        self.assertEqual(len(self.rpc.calls), 5)

    def test_media_type(self) -> None:
        """The media type may be in any case, and may have UTF-8 as its charset."""
        for value in ("application/json; charset=utf-8", 'Application/JSON;charset="UTF-8"', "application/json;v=1"):
            self.post(KEY, f"Content-Type: {value}").leave()
        self.assertEqual(len(self.rpc.calls), 3)

    def test_headers(self) -> None:
        """End-to-end headers become message headers; pg- headers, secrets and headers of one hop do not."""
        self.post(
            KEY, "X-Tenant: a", "X-Tenant: b", "pg-status: 200", "PG-Attempt: 9", "Cookie: c", "Authorization: Basic x",
            "Connection: X-Hop", "X-Hop: 1", "X-Death: 1", "CC: elsewhere", "RqUID: r1",
        )  # fmt: skip
        headers = {name.lower(): value for name, value in self.rpc.calls[0][0].headers.items()}
        del headers["pg-deadline"], headers["pg-published"]
        expected = {"x-tenant": "a, b", "rquid": "r1", "routing-key": "predict.now"}
        self.assertEqual(headers, {**expected, "content-type": "application/json"})

    def test_times(self) -> None:
        """A message with a reply address tells when it was published, and the deadline is that plus the reply timeout.

        Both are of one reading of the clock. A message without a reply address has neither.
        """
        self.clock.advance(1000.0009)
        self.post(KEY)
        self.post(KEY, path="/v1/publish")
        headers = self.rpc.calls[0][0].headers
        self.assertEqual((headers["pg-published"], headers["pg-deadline"]), (1_000_000, 1_090_000))
        self.assertFalse({"pg-published", "pg-deadline"} & self.publisher.published[0][0].headers.keys())

    def test_rquid(self) -> None:
        """The caller's RqUID is in the message and in the response."""
        response = self.answered(Message(b"1", {"RqUID": "other"}), KEY, "rquid: r-1")
        self.assertEqual(response.headers["rquid"], "r-1")
        self.assertEqual(self.rpc.calls[0][0].headers["RqUID"], "r-1")

    def test_fresh_rquid(self) -> None:
        """A request without RqUID gets a fresh one, the same in message and response."""
        ids = []
        for _ in range(2):
            ids.append(self.answered(Message(b"1")).headers["rquid"])
            self.assertEqual(self.rpc.calls[-1][0].headers["RqUID"], ids[-1])
        self.assertEqual(len(set(ids)), 2)

    def test_correlation_id(self) -> None:
        """Two requests with the same RqUID have different correlation ids and message ids."""
        for _ in range(2):
            self.post(KEY, "RqUID: r1")
        messages = [call[0] for call in self.rpc.calls]
        self.assertEqual(len({m.correlation_id for m in messages} | {m.message_id for m in messages} | {"r1", None}), 6)


class RefusalTests(APITestCase):
    """Malformed requests, for which nothing is published."""

    def tearDown(self) -> None:
        self.assertEqual((self.rpc.calls, self.publisher.published), ([], []))
        self.assertEqual(counted(self.metrics.http_in_flight), 0)

    def test_routing_key(self) -> None:
        """A routing key that is missing, empty, too long, or has wildcards or controls is answered with 400."""
        long = "k" * 256
        for value in ("", long, "a.*", "a.#", "\u00e9" * 128, "a\x01b", "a\x7f"):
            self.assert_problem(self.post(f"routing-key: {value}"), 400, "bad-request")
        self.assert_problem(self.post("X-Other: 1"), 400, "bad-request")

    def test_several_routing_keys(self) -> None:
        """Several routing-key headers are answered with 400."""
        self.assert_problem(self.post(KEY, "Routing-Key: predict.later"), 400, "bad-request")

    def test_rquid(self) -> None:
        """A malformed RqUID is answered with 400, and the response has a fresh one."""
        for value in ("", "a b", "x" * 129, "\u00e9"):
            response = self.assert_problem(self.post(KEY, f"RqUID: {value}"), 400, "bad-request")
            self.assertRegex(response.headers["rquid"], r"^[0-9a-f-]{36}$")

    def test_unknown_path(self) -> None:
        """An unknown path is answered with 404."""
        for path in ("/v1", "/v1/predict/x", "/predict", "/openapi", "/openapi.json/", "/docs/"):
            self.assert_problem(self.post(KEY, path=path), 404, "not-found")

    def test_method(self) -> None:
        """An unsupported method is answered with 405, and Allow lists the supported ones."""
        for method, path, allowed in (
            ("PUT", "/v1/predict", "POST"),
            ("GET", "/v1/publish", "POST"),
            ("POST", "/health", "GET"),
        ):
            client = Client(self.site)
            client.request(method, path)
            self.assertIn(allowed, self.assert_problem(client, 405, "method-not-allowed").headers["allow"])

    def test_media_type(self) -> None:
        """A body that is not declared as plain JSON in UTF-8 is answered with 415."""
        for header in (
            "Content-Type: text/plain", "Content-Type:", "Content-Type: application/json; charset=latin-1",
            "Content-Type: application/jsonx", "Content-Encoding: gzip",
        ):  # fmt: skip
            self.assert_problem(self.post(KEY, header), 415, "unsupported-media-type")

    def test_not_json(self) -> None:
        """A body that is not JSON is answered with 422: broken, empty, NaN, Infinity, not UTF-8, nested too deeply."""
        deep = 100_000
        for body in (
            b"{", b"", b"{} {}", b"{'a': 1}", b"[1,]", b"NaN", b"[Infinity]", b"-Infinity", b'"\xff"', b"01",
            b"[" * deep + b"]" * deep, b'{"a":' * deep,
        ):  # fmt: skip
            self.assert_problem(self.post(KEY, body=body), 422, "invalid-json")


class AnswerTests(APITestCase):
    """The response that a reply becomes."""

    def test_reply(self) -> None:
        """The response has a reply's body, content type and end-to-end headers, not its properties and pg- headers."""
        headers = {"pg-status": 201, "pg-reason": "x", "X-Model": "m", "depth": 3, "Server": "s", "Set-Cookie": "c=1"}
        response = self.answered(Message(b"\x00\xff", headers, content_type="image/png", correlation_id="c"))
        self.assertEqual((response.status, response.body), (201, b"\x00\xff"))
        self.assertEqual((response.headers["content-type"], response.headers["x-model"]), ("image/png", "m"))
        self.assertEqual({"pg-status", "pg-reason", "depth", "set-cookie"} & set(response.headers), set())

    def test_status(self) -> None:
        """The status is that of ``pg-status``, as a number or as a text; without one it is 200."""
        for value, status in ((404, 404), (502, 502), (None, 200), ("500", 500), ("204", 204)):
            self.assertEqual(self.answered(Message(b"1", {"pg-status": value})).status, status)

    def test_reason_phrase(self) -> None:
        """Each status has the reason phrase of the standard (RFC 9110, 15), also those that Twisted does not know."""
        for status, phrase in ((200, "OK"), (422, "Unprocessable Content"), (429, "Too Many Requests"), (299, "")):
            client = self.post()
            self.rpc.replies[-1].callback(Message(b"1", {"pg-status": status}))
            line = client.value().partition(b"\r\n")[0].decode()
            self.assertTrue(line.startswith(f"HTTP/1.1 {status} {phrase}"), line)

    def test_no_status(self) -> None:
        """A reply whose status is none is answered with 502, and the problem says why: it may be a failure."""
        for value in (99, 199, 600, 1000, "1e3", "failed", True):
            response = self.answered(Message(b"1", {"pg-status": value}))
            self.assertEqual((response.status, response.problem["type"].rpartition(":")[2]), (502, "model-failed"))
            self.assertIn("pg-status", response.problem["detail"])

    def test_latin_1(self) -> None:
        """Header values travel byte for byte: UTF-8 as UTF-8, and bytes in another charset as they came."""
        value, text = b"gr\xf6\xdfe \xa0!", "gr\u00f6\u00dfe".encode()
        client = Client(self.site)
        lines = b"POST /v1/predict HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 2\r\n"
        client.send(lines + b"routing-key: predict.now\r\nX-Old: %s\r\nX-New: %s\r\n\r\n{}" % (value, text))
        sent = Message.received(self.rpc.calls[-1][0].properties(), b"{}")
        assert sent.original is not None
        self.assertIn(b"\x05X-OldS\x00\x00\x00\x08" + value, sent.original)
        self.assertIn(b"\x05X-NewS\x00\x00\x00\x07" + text, sent.original)
        self.rpc.replies[-1].callback(Message(b"1", sent.headers))
        self.assertIn(b"X-Old: %s\r\n" % value, client.value())
        self.assertIn(b"X-New: %s\r\n" % text, client.value())

    def test_no_content_type(self) -> None:
        """For a reply without a content type, the response is declared as JSON."""
        self.assertEqual(self.answered(Message(b"1", content_type=None)).headers["content-type"], "application/json")

    def test_injection(self) -> None:
        """A reply cannot add lines to the response's head by header names, header values or content type."""
        evil = "a\r\nX-Injected: 1"
        response = self.answered(Message(b"1", {"X-A": evil, evil: "1", "X-B": "a\nb", "X-Good": "g"}, evil))
        self.assertEqual(response.headers["x-good"], "g")
        self.assertEqual(response.headers["content-type"], "application/json")
        self.assertEqual({"x-injected", "x-a", "x-b"} & set(response.headers), set())

    def test_framing(self) -> None:
        """A reply cannot set the response's Content-Length."""
        response = self.answered(Message(b"12", {"Content-Length": "1", "Transfer-Encoding": "chunked"}))
        self.assertEqual((response.headers["content-length"], response.body), ("2", b"12"))
        self.assertNotIn("transfer-encoding", response.headers)

    def test_failures(self) -> None:
        """Each error of a call has its status and problem; Retry-After is set where a retry may help."""
        expected: list[tuple[GatewayError, int, str | None]] = [
            (NoRoute("x"), 404, None), (ModelFailure("x", "timeout"), 502, None), (BrokerUnavailable("x"), 503, "1"),
            (BrokerBlocked("x"), 503, "5"), (Nacked("x"), 503, "5"), (DeadlinePassed("x"), 504, None),
            (OutcomeUnknown("x"), 504, None),
        ]  # fmt: skip
        for error, status, retry_after in expected:
            client = self.post(KEY, "RqUID: r1")
            self.rpc.replies[-1].errback(error)
            response = self.assert_problem(client, status, error.problem)
            self.assertEqual((response.headers.get("retry-after"), response.headers["rquid"]), (retry_after, "r1"))
            self.assertEqual(response.problem["detail"], "x")

    def test_unforeseen(self) -> None:
        """An unforeseen error is answered with 500 without details, and is logged."""
        client = self.post()
        self.rpc.replies[-1].errback(KeyError("secret"))
        self.assert_problem(client, 500, "internal-error")
        self.assertNotIn(b"secret", client.value())
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)


class PublishTests(APITestCase):
    """``/v1/publish`` waits for the broker's confirm, not for a reply."""

    def test_webhook(self) -> None:
        """A webhook is told of answers that are kept: 400 says where it belongs, and nothing is published.

        However the header is spelled, also empty or sent twice. ``Prefer``, a wish, is ignored (RFC 7240).
        """
        for headers in (["Webhook: w"], ["webhook:"], ["WEBHOOK: a", "Webhook: b"]):
            response = self.post(KEY, "Prefer: respond-async", *headers, path="/v1/publish").response()
            problem = json.loads(response.body)
            self.assertEqual((response.status, problem["type"].rpartition(":")[2]), (400, "bad-request"))
            self.assertIn("/v1/predict", problem["detail"])
        self.assertEqual(self.publisher.published, [])
        self.assertEqual(self.post(KEY, "Prefer: respond-async", path="/v1/publish").responses(), [])
        self.assertEqual(len(self.publisher.published), 1)

    def test_confirmed(self) -> None:
        """The response is 202 with the message's ids, and comes once the broker has confirmed the message."""
        client = self.post(KEY, "RqUID: r1", path="/v1/publish", body=b"[1]")
        self.assertEqual(client.responses(), [])
        ((message, exchange, routing_key, _),) = self.publisher.published
        self.assertEqual(
            (exchange, routing_key, message.body, message.reply_to), ("ML.MQ", "predict.now", b"[1]", None)
        )
        self.publisher.confirm()
        response = client.response()
        ids = {"message_id": message.message_id, "correlation_id": message.correlation_id, "rquid": "r1"}
        self.assertEqual((response.status, json.loads(response.body)), (202, ids))

    def test_not_routed(self) -> None:
        """An unrouted message is answered with 404."""
        client = self.post(path="/v1/publish")
        self.publisher.fail(NoRoute("nowhere"))
        self.assert_problem(client, 404, "no-route")

    def test_no_confirm(self) -> None:
        """Without a confirm in time the response is 504: the outcome is unknown."""
        client = self.post(path="/v1/publish")
        self.clock.advance(90)
        self.assert_problem(client, 504, "outcome-unknown")


class DefaultRoutingKeyTests(APITestCase):
    """The queue file has a routingKey for requests without one."""

    routing_key = "predict.default"

    def test_default(self) -> None:
        """Without a routing-key header the queue file's routingKey is used; a header wins."""
        self.post("X-Other: 1")
        self.post(KEY)
        self.assertEqual([call[2] for call in self.rpc.calls], ["predict.default", "predict.now"])

    def test_empty(self) -> None:
        """An empty routing-key header is an error, too."""
        self.assert_problem(self.post("routing-key:"), 400, "bad-request")
