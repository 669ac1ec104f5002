"""Headers between HTTP and AMQP: those that are not for the other side, or would break it, are left out."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pika

from tests.security.base import SecurityTestCase, channel
from tests.security.client import post
from tests.security.model import says
from tests.security.worker import WorkerTestCase

if TYPE_CHECKING:
    from tests.security.client import Response

DROPPED = "provider_gateway_headers_dropped_total"
#: Headers that would end a line of HTTP, or are not allowed in one; each has the word "injected".
UNSAFE = {
    "X-Cr": "a\rinjected: 1",
    "X-Lf": "a\ninjected: 1",
    "X-Crlf": "a\r\ninjected: 1\r\n\r\ninjected",
    "X-Nul": "a\0injected",
    "X-Control": "a\x1binjected",
    "X Injected": "a",
    "X-Injected:": "a",
    "X-Injected\r\nInjected": "a",
    "": "injected",
}
#: Headers that the broker or the gateway acts on, or that carry an identity.
NOT_FOR_CLIENTS = (
    b"pg-status: 500", b"PG-Deadline: 1", b"pg-reason: any", b"pg-copy: any", b"pg-queue: any", b"pg-attempt: 9",
    b"pg-identity: admin", b"PG-Identity: admin", b"pg-replays: 9", b"pg-routing-key: any", b"pg-model-status: 200",
    b"x-death: any", b"X-Delivery-Count: 99", b"x-acquired-count: 99", b"x-first-death-queue: any", b"x-delay: 60000",
    b"CC: victim", b"BCC: victim", b"x-match: any",
    b"X-Forwarded-Client-Cert: Subject=\"CN=admin\"", b"Authorization: Bearer any", b"Cookie: session=any",
    b"Proxy-Authorization: Basic any", b"Transfer-Coding: any", b"TE: trailers", b"Upgrade: websocket",
)  # fmt: skip


class ToMessagesTests(WorkerTestCase):
    """From HTTP clients to messages."""

    def test_not_for_clients(self) -> None:
        """Headers that the broker or the gateway acts on, or that claim an identity, are not in the message."""
        with self.connect() as connection:
            asked = self.message_for(connection, post(b"1", *NOT_FOR_CLIENTS, b"X-Mine: kept"))
        theirs = {line.partition(b":")[0].decode().lower() for line in NOT_FOR_CLIENTS} - {"transfer-coding"}
        headers = {name.lower(): value for name, value in asked.headers.items()}
        self.assertEqual(headers["x-mine"], "kept")
        for ours in ("pg-deadline", "pg-published"):
            self.assertGreater(headers.pop(ours), 10**12)
        self.assertEqual(headers.pop("pg-identity"), "caller")  # of the certificate
        self.assertEqual(theirs & headers.keys(), set())
        self.assertFalse([name for name in headers if name.startswith("pg-")])

    def test_no_carbon_copies(self) -> None:
        """A client's CC and BCC do not make the broker deliver copies to other queues."""
        with channel() as opened:
            victim = opened.queue_declare("", exclusive=True).method.queue
            opened.queue_bind(victim, self.deployment.exchange, "victim")
            with self.connect() as connection:
                self.message_for(connection, post(b"1", b"CC: victim", b"BCC: victim", b'CC: ["victim"]'))
            self.assertEqual(opened.queue_declare(victim, passive=True).method.message_count, 0)

    def test_named_by_connection(self) -> None:
        """A header that Connection names is for this connection only."""
        with self.connect() as connection:
            asked = self.message_for(connection, post(b"1", b"Connection: keep-alive, X-Hop", b"X-Hop: a"))
        self.assertNotIn("x-hop", {name.lower() for name in asked.headers})

    def test_properties(self) -> None:
        """The gateway sets correlation id, message id and reply address of a message, whatever a client sends."""
        with self.connect() as connection:
            names = (
                b"correlation-id",
                b"correlation_id",
                b"message-id",
                b"reply-to",
                b"reply_to",
                b"user-id",
                b"expiration",
            )
            asked = self.message_for(connection, post(b"1", *(each + b": theirs" for each in names)))
        self.assertTrue(asked.reply_to.startswith(f"{self.deployment.output}."))
        self.assertNotIn("theirs", (asked.correlation_id, asked.message_id, asked.user_id, asked.expiration))


class FromRepliesTests(WorkerTestCase):
    """From replies to HTTP clients."""

    def assert_not_injected(self, response: Response) -> None:
        """Check that no part of the unsafe headers was sent."""
        self.assertNotIn(b"injected", response.head.lower())
        self.assertNotIn(b"injected", response.body)

    def test_unsafe_headers(self) -> None:
        """A header whose name or value would break the response is left out and counted; the others stay."""
        dropped = self.metric(DROPPED)
        response = self.answer(headers={**UNSAFE, "X-Good": "kept"})
        self.assertEqual((response.status, response.headers["x-good"]), (200, "kept"))
        self.assert_not_injected(response)
        self.assertEqual(self.metric(DROPPED), dropped + len(UNSAFE))

    def test_unsafe_content_type(self) -> None:
        """A content type that would break the response is not passed on."""
        for content_type in ("text/html\r\ninjected: 1", "text/html\0injected", "injected\r"):
            response = self.answer(content_type=content_type)
            self.assert_not_injected(response)
            self.assertEqual(response.headers["content-type"], "application/json")

    def test_status_that_is_none(self) -> None:
        """A pg-status that is no HTTP status of a response is answered with 502, and never as a success."""
        for status in (0, 99, 199, 600, 2**40, -1, "ok", "101", "500\r\ninjected: 1", True, [500], {"status": 500}):
            response = self.answer(headers={"pg-status": status})
            self.assertEqual(response.status, 502, status)
            self.assertNotIn(b"injected", response.head.lower())

    def test_status_as_text(self) -> None:
        """A pg-status that is written as a text counts; without a value, the status is 200."""
        for status, expected in (("500", 500), (" 422", 422), (Decimal(404), 404), (None, 200)):
            self.assertEqual(self.answer(headers={"pg-status": status}).status, expected)

    def test_headers_of_ours(self) -> None:
        """A reply's headers for framing, CORS or other things that the gateway decides are left out."""
        theirs = {
            "Content-Length": "1", "Transfer-Encoding": "chunked", "Connection": "close", "Set-Cookie": "a=injected",
            "Access-Control-Allow-Origin": "injected", "Date": "injected", "Content-Encoding": "injected",
            "pg-reason": "injected", "RqUID": "injected", "X-Forwarded-Client-Cert": "injected", "Upgrade": "injected",
        }  # fmt: skip
        response = self.answer(b'{"a": 1}', headers=theirs)
        self.assertEqual((response.status, response.body), (200, b'{"a": 1}'))
        self.assert_not_injected(response)
        self.assertEqual(response.headers.keys() & {"transfer-encoding", "connection", "set-cookie"}, set())

    def test_tables_and_numbers(self) -> None:
        """Headers that are not text are left out."""
        headers = {
            "X-Table": {"injected": "a"},
            "X-List": ["injected"],
            "X-Number": 1,
            "X-None": None,
            "X-Good": "kept",
        }
        response = self.answer(headers=headers)
        self.assertEqual({name for name in response.headers if name.startswith("x-")}, {"x-good"})


class ToTheModelTests(SecurityTestCase):
    """From messages of hostile AMQP clients to the model, and from the model back."""

    def publish(self, headers: dict[str, Any], **properties: Any) -> dict[str, str]:
        """The headers that the model gets with a message."""
        properties = {"content_type": "application/json", "reply_to": self.deployment.output, **properties}
        with channel() as opened:
            told = pika.BasicProperties(headers=headers, **properties)
            opened.basic_publish(self.deployment.exchange, "predict.now", b"1", told)
        return self.model.wait_for(1)[-1].headers

    def test_unsafe_headers(self) -> None:
        """A header whose name or value would break the request is left out and counted; the others stay."""
        dropped = self.metric(DROPPED)
        headers = self.publish({**UNSAFE, "X-Good": "kept"})
        self.assertEqual(headers["x-good"], "kept")
        self.assertNotIn("injected", repr(headers).lower())
        self.assertEqual(self.metric(DROPPED), dropped + len(UNSAFE))

    def test_unsafe_content_type_and_request_id(self) -> None:
        """A content type or a request id that would break the request is not passed on."""
        headers = self.publish({"RqUID": "a\r\ninjected: 1"}, content_type="text/html\r\ninjected: 1")
        self.assertNotIn("injected", repr(headers))
        self.assertEqual(headers["content-type"], "application/json")

    def test_not_for_the_model(self) -> None:
        """Headers for the broker or for one hop, and claimed identities, do not reach the model."""
        names = (
            "pg-status", "pg-deadline", "pg-published", "x-death", "x-delivery-count", "CC", "BCC", "Authorization",
            "Cookie", "Host", "X-Forwarded-Client-Cert", "Transfer-Encoding", "Content-Length", "Expect",
            "Proxy-Authorization",
        )  # fmt: skip
        headers = self.publish(
            {name: "injected" for name in names if name not in ("CC", "BCC")} | {"CC": [], "BCC": []}
        )
        self.assertNotIn("injected", repr(headers))
        self.assertEqual(headers["content-length"], "1")

    def test_unsafe_headers_of_the_model(self) -> None:
        """No header of the model breaks the response to the client."""
        for header in (b"X-Any: a\rinjected: 1", b"X-Any: a\0injected", b"X-Injected\r: a", b"X Injected: a"):
            self.model.answer = says(200, b"{}", header)
            with self.connect() as connection:
                response = connection.ask(post(b"1"))
                self.assertNotRegex(response.head.replace(b"\r\n", b"|"), rb"[\r\n\0]")
                self.assertNotIn("injected", response.headers)
                self.assertEqual(connection.finish(), b"")
