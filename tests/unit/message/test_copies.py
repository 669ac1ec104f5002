"""Copies of messages: what is kept, what is removed, and what they say about their history."""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import Any

from pika.spec import BasicProperties
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.errors import HeadersTooLarge
from provider_gateway.message.copies import Copy, History
from provider_gateway.message.ids import rquid_of
from provider_gateway.message.message import Message
from provider_gateway.message.properties import ReceivedProperties
from tests.support.header_tables import VALUES, decoded, header

#: Headers that no copy has.
STRIPPED = (
    *("pg-attempt", "pg-queue", "pg-reason", "pg-redeliveries", "pg-copy", "pg-status", "pg-else", "PG-Attempt"),
    *("pg-deadline", "PG-Deadline", "pg-published", "pg-waited", "pg-"),
    *("x-death", "X-Death", "x-delivery-count", "X-Delivery-Count", "x-acquired-count"),
    *("x-first-death-queue", "x-first-death-reason", "x-first-death-exchange", "X-First-Death-Queue"),
    *("x-last-death-queue", "x-last-death-reason", "x-last-death-exchange", "X-LAST-DEATH-QUEUE"),
    *("CC", "cc", "BCC", "bcc", "Bcc"),
)
KEPT = ("RqUID", "x-tenant", "x-deaths", "x-first", "ccc", "abcc", "pg", "pgx", "x-delay", "größe", "")


def copy_of(properties: ReceivedProperties, history: History | None = None, body: bytes = b"{}") -> Copy:
    """A copy of a message with these properties."""
    return Copy.of(
        Message.received(
            b"".join(properties.encode()) if not isinstance(properties, ReceivedProperties) else properties.encoded,
            body,
        ),
        "work",
        history or History(2, 1),
        "timeout",
    )


def sent(copy: Copy) -> ReceivedProperties:
    """The properties of a copy, as the broker and the next consumer see them."""
    return ReceivedProperties().decode(copy.properties())


def others(headers: Any) -> dict[str, Any]:
    """The headers that are not ours."""
    return {name: value for name, value in headers.items() if not str(name).startswith("pg-")}


class KeptTests(SynchronousTestCase):
    """What a copy keeps of the original."""

    def test_body(self) -> None:
        """The body is unchanged."""
        for body in (b"", b"{}", bytes(range(256))):
            self.assertEqual(copy_of(BasicProperties(), body=body).body, body)

    def test_stripped(self) -> None:
        """Headers of the broker and our own are removed, in any spelling and with any value."""
        for data in (b"t\x01", b"S\x00\x00\x00\x01x", b"A\x00\x00\x00\x02t\x01", b"d" + struct.pack(">d", 0.5)):
            table = b"".join(header(name, data) for name in (*STRIPPED, "x-tenant"))
            properties = sent(copy_of(decoded(table)))
            self.assertEqual(set(others(properties.headers)), {"x-tenant"})
            ours = {name: properties.headers[name] for name in properties.headers if name.startswith("pg-")}
            self.assertEqual(set(ours), {"pg-attempt", "pg-redeliveries", "pg-queue", "pg-reason", "pg-copy"})
            self.assertEqual((ours["pg-attempt"], ours["pg-queue"]), (2, "work"))

    def test_kept(self) -> None:
        """All other headers are kept, byte for byte."""
        for kind, (data, _) in VALUES.items():
            table = b"".join(header(name, data) for name in KEPT)
            properties = sent(copy_of(decoded(table)))
            self.assertEqual(properties.headers_that(lambda name: not name.startswith("pg-")), table, kind)

    def test_times(self) -> None:
        """Only a copy that may expire keeps the deadline, and the time of publishing."""
        number = b"l" + struct.pack(">q", 1_700_000_000_123)
        original = decoded(header("pg-deadline", number) + header("pg-published", number))
        message = Message.received(original.encoded, b"")
        for may_expire, expected in ((True, 1_700_000_000.123), (False, None)):
            copied = Message.received(
                sent(Copy.of(message, "work", History(), "redelivered", may_expire=may_expire)).encoded, b""
            )
            self.assertEqual((copied.deadline, copied.published), (expected, expected))
        for name in ("pg-deadline", "pg-published"):
            self.assertNotIn(name, sent(copy_of(original)).headers)
            text = Message(b"", {name: "x" * 100_000})
            self.assertNotIn(name, sent(Copy.of(text, "work", History(), "redelivered", may_expire=True)).headers)
            without = sent(Copy.of(Message(b""), "work", History(), "redelivered", may_expire=True))
            self.assertNotIn(name, without.headers)

    def test_properties(self) -> None:
        """Ids, reply address, priority, type, application, time and content type are kept; the copy is persistent."""
        kept: dict[str, Any] = {
            "correlation_id": "c", "reply_to": "back", "message_id": "m", "priority": 7, "type": "t", "app_id": "a",
            "timestamp": 1_700_000_000, "content_type": "text/plain", "content_encoding": "gzip",
        }  # fmt: skip
        dropped = {"expiration": "5000", "user_id": "guest"}
        copied = sent(copy_of(decoded(None, **kept, **dropped, delivery_mode=1)))
        self.assertEqual({name: getattr(copied, name) for name in kept}, kept)
        self.assertEqual((copied.expiration, copied.user_id, copied.delivery_mode), (None, None, 2))

    def test_no_properties(self) -> None:
        """A message without properties can be copied; only a message id is added."""
        copied = sent(copy_of(decoded(None)))
        self.assertEqual(others(copied.headers), {})
        for name in ("correlation_id", "reply_to", "content_type", "content_encoding", "priority", "timestamp", "type"):
            self.assertIsNone(getattr(copied, name), name)

    def test_message_that_was_not_received(self) -> None:
        """A message that we made can be copied."""
        copied = sent(Copy.of(Message(b"", {"a": "b"}, reply_to="q", message_id="m"), "work", History(), "x"))
        self.assertEqual((others(copied.headers), copied.reply_to, copied.message_id), ({"a": "b"}, "q", "m"))

    def test_copy_of_a_copy(self) -> None:
        """A copy of a copy carries nothing twice, and the newest history."""
        table = header("a", b"d" + struct.pack(">d", 0.25))
        first = sent(copy_of(decoded(table, reply_to="back"), History(2, 0)))
        second = sent(copy_of(first, History(3, 4)))
        names: list[str] = []
        second.headers_that(lambda name: bool(names.append(name)))
        self.assertEqual(len(names), len(set(names)))
        self.assertEqual((second.headers["pg-attempt"], second.headers["pg-redeliveries"]), (3, 4))
        self.assertEqual(second.headers_that(lambda name: name == "a"), table)
        self.assertEqual(second.reply_to, "back")


def text(name: str, size: int) -> bytes:
    """A header with a value of this many bytes."""
    return header(name, b"S" + struct.pack(">I", size) + b"v" * size)


class FittedTests(SynchronousTestCase):
    """Copies whose properties do not fit a frame."""

    def fitted(self, copy: Copy, limit: int) -> ReceivedProperties:
        encoded = copy.fitted(limit)
        self.assertLessEqual(len(encoded), limit)
        return ReceivedProperties().decode(encoded)

    def test_largest_first(self) -> None:
        """The largest headers go first, as few as need be, and no others; pg-dropped names them in that order."""
        table = text("a", 100) + text("large", 3000) + text("b", 100) + text("larger", 4000) + text("c", 1)
        for limit, lost in ((7000, ["larger"]), (4200, ["larger"]), (3000, ["larger", "large"])):
            properties = self.fitted(copy_of(decoded(table)), limit)
            self.assertEqual(properties.headers["pg-dropped"], ", ".join(lost))
            kept = [name for name in ("a", "large", "b", "larger", "c") if name not in lost]
            self.assertEqual(list(others(properties.headers)), kept)

    def test_of_one_size(self) -> None:
        """Of headers of one size, the first go first."""
        table = b"".join(text(f"x{number}", 100) for number in range(9))
        properties = self.fitted(copy_of(decoded(table)), 900)
        lost = properties.headers["pg-dropped"].split(", ")
        self.assertEqual([*lost, *others(properties.headers)], [f"x{number}" for number in range(9)])

    def test_least_frame(self) -> None:
        """In the smallest frame of AMQP there is room for the longest ids, our own headers and the request id."""
        names = ("correlation_id", "reply_to", "message_id", "type", "app_id", "content_type", "content_encoding")
        longest: dict[str, Any] = dict.fromkeys(names, "x" * 255)
        table = header("RQuid", b"S" + struct.pack(">I", 128) + b"r" * 128) + text("a", 120_000) + text("b" * 255, 9)
        original = decoded(table, **longest, priority=1, timestamp=1)
        history = History(2**61, 2**61, "d" * 255)
        copy = Copy.of(Message.received(original.encoded, b""), "q" * 255, history, "r" * 100)
        properties = self.fitted(copy, 4096 - 8 - 12)
        self.assertEqual({name: getattr(properties, name) for name in longest}, longest)
        self.assertEqual((properties.priority, properties.headers["RQuid"]), (1, "r" * 128))
        self.assertEqual(properties.headers["pg-queue"], "q" * 255)

    def test_request_id(self) -> None:
        """A request id stays, even if smaller headers go. What is too long to be one does not."""
        table = text("RqUID", 128) + b"".join(text(f"x{number}", 20) for number in range(50))
        self.assertEqual(list(others(self.fitted(copy_of(decoded(table)), 580).headers)), ["RqUID"])
        table = text("RqUID", 129) + text("x", 20)
        self.assertNotIn("RqUID", self.fitted(copy_of(decoded(table)), 500).headers)

    def test_several_request_ids(self) -> None:
        """Of headers that look like request ids, only the one that is read stays: a table may repeat a name."""
        several = [text(name, 128) for name in 40 * ("RqUID", "rquid")]
        table = b"".join([*several, text("RQUID", 127), header("RQUID", b"S\0\0\0\2id"), *several])
        read = rquid_of(Message.received(decoded(table).encoded, b"").headers)
        for limit in (4096 - 8 - 12, 600):
            properties = self.fitted(copy_of(decoded(table)), limit)
            self.assertIn(read, others(properties.headers).values())
        unread = b"".join([header("RqUID", b"x\0\0\0\x80" + b"r" * 128)] * 40)
        self.assertNotIn("RqUID", self.fitted(copy_of(decoded(unread)), 500).headers)

    def test_every_type(self) -> None:
        """A header of any type can go, and the others keep their bytes."""
        for kind, (data, _) in VALUES.items():
            table = header("small", data) + header("large", b"A" + struct.pack(">I", 2000) + b"V" * 2000)
            properties = self.fitted(copy_of(decoded(table)), 1000)
            self.assertEqual(properties.headers_that(lambda name: not name.startswith("pg-")), table[:-2011], kind)

    def test_names(self) -> None:
        """Names that are not UTF-8, or too long together, are shortened. No more than 255 bytes are listed."""
        table = header(b"\xff\xfe", b"S" + struct.pack(">I", 2000) + b"v" * 2000)
        self.assertEqual(self.fitted(copy_of(decoded(table)), 1000).headers["pg-dropped"], "\ufffd\ufffd")
        table = b"".join(text("ä" * 50 + str(number), 2000) for number in range(9))
        listed = self.fitted(copy_of(decoded(table)), 1000).headers["pg-dropped"]
        self.assertLessEqual(len(listed.encode()), 255)
        self.assertTrue(listed.startswith("ä" * 50 + "0, ") and listed.endswith("…"), listed)

    def test_history(self) -> None:
        """The next copy still names what the first has lost, and what it loses itself."""
        first = self.fitted(copy_of(decoded(text("a", 3000) + text("b", 2000))), 3000)
        second = sent(copy_of(first, History.told_by(first.headers)))
        self.assertEqual(second.headers["pg-dropped"], "a")
        third = self.fitted(copy_of(second, History.told_by(second.headers)), 1000)
        self.assertEqual(third.headers["pg-dropped"], "a, b")

    def test_forged(self) -> None:
        """A client's pg-dropped is not copied. One that is no text, or too long, is not believed."""
        forged = decoded(text("pg-dropped", 3000))
        self.assertNotIn("pg-dropped", sent(copy_of(forged)).headers)
        self.assertEqual(History.told_by({"pg-dropped": 7}), History())
        self.assertLessEqual(len(History.told_by({"pg-dropped": "x" * 3000}).dropped.encode()), 255)

    def test_no_room(self) -> None:
        """If even that does not fit, the error says so. Other messages lose nothing."""
        for message in (copy_of(decoded(text("a", 1000))), Message(b"", {"a": "b" * 1000})):
            error = self.assertRaises(HeadersTooLarge, message.fitted, 100)
            self.assertIn("the broker allows 100", error.detail)


class ModelErrorTests(SynchronousTestCase):
    """What the model said, on a copy for the parking queue."""

    def copy(self, table: bytes) -> Copy:
        message = Message.received(decoded(table).encoded, b"{}")
        return Copy.of(message, "work", History(3, 0), "status", kept={"pg-model-error": 1000 * "e"})

    def test_goes_first(self) -> None:
        """If the headers do not fit, what the model said is left out before any header of the message."""
        copy = self.copy(header("x-large", VALUES["text"][0]) + header("RqUID", VALUES["text"][0]))
        whole = ReceivedProperties().decode(copy.properties()).headers
        self.assertEqual(whole["pg-model-error"], 1000 * "e")
        fitted = ReceivedProperties().decode(copy.fitted(len(copy.properties()) - 1)).headers
        del whole["pg-model-error"]
        self.assertEqual(fitted, whole)

    def test_is_not_enough(self) -> None:
        """If they do not fit even then, headers go as on any copy."""
        text = b"S" + struct.pack(">I", 3000) + 3000 * b"x"
        fitted = ReceivedProperties().decode(self.copy(header("x-large", text)).fitted(1000)).headers
        self.assertEqual(fitted["pg-dropped"], "x-large")
        self.assertNotIn("pg-model-error", fitted)
        self.assertNotIn("x-large", fitted)


class IdsTests(SynchronousTestCase):
    """The ids of copies."""

    def test_message_id(self) -> None:
        """A copy has the message id of its original, or a fresh one without it."""
        self.assertEqual(sent(copy_of(BasicProperties(message_id="m"))).message_id, "m")
        for without in (BasicProperties(), BasicProperties(message_id="")):
            fresh = {sent(copy_of(without)).message_id for _ in range(3)}
            self.assertEqual(len(fresh - {None, ""}), 3)

    def test_fresh_message_id_stays(self) -> None:
        """One copy has the same message id each time that it is published."""
        copy = copy_of(BasicProperties())
        self.assertEqual(sent(copy).message_id, sent(copy).message_id)
        self.assertEqual(sent(copy).message_id, copy.message_id)

    def test_publish_id(self) -> None:
        """Each copy has its own publish id, the header pg-copy; that of other messages is their message id."""
        copies = [copy_of(BasicProperties(message_id="m")) for _ in range(3)]
        self.assertEqual(len({copy.publish_id for copy in copies}), 3)
        for copy in copies:
            self.assertEqual(sent(copy).headers["pg-copy"], copy.publish_id)
        self.assertEqual(Message(b"", message_id="m").publish_id, "m")

    def test_ours(self) -> None:
        """A copy says the attempt, the redeliveries, the queue and the reason."""
        headers = sent(Copy.of(Message(b""), "work", History(4, 2), "status")).headers
        expected = {"pg-attempt": 4, "pg-redeliveries": 2, "pg-queue": "work", "pg-reason": "status"}
        self.assertEqual({name: headers[name] for name in expected}, expected)

    def test_original_is_untouched(self) -> None:
        """Copying changes neither the message nor its properties."""
        original = decoded(header("a", b"t\x01") + header("x-death", b"V"), message_id="m")
        message = Message.received(original.encoded, b"{}")
        before = replace(message), b"".join(original.encode())
        Copy.of(message, "work", History(2), "timeout").properties()
        self.assertEqual((message, b"".join(original.encode())), before)


class HistoryTests(SynchronousTestCase):
    """Which headers of a returned copy are believed."""

    def test_first(self) -> None:
        """A message without history is at its first attempt."""
        self.assertEqual(History(), History.told_by({}))
        self.assertEqual((History().attempt, History().redeliveries), (1, 0))

    def test_round_trip(self) -> None:
        """The history that a copy carries is the one that its consumer reads."""
        for history in (History(), History(2, 0), History(5, 19)):
            self.assertEqual(History.told_by(history.headers()), history)
            self.assertEqual(History.told_by(sent(copy_of(decoded(None), history)).headers), history)

    def test_nonsense(self) -> None:
        """A value that is no number, or is below the minimum, counts as the minimum."""
        for value in (None, "3", b"3", 2.5, [3], {"a": 3}, Message, 0, -1, -(2**63)):
            self.assertEqual(History.told_by({"pg-attempt": value}), History(), repr(value))
            if value != 0:
                self.assertEqual(History.told_by({"pg-redeliveries": value}), History(), repr(value))
