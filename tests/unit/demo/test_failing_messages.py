"""The messages that fail in the demo: each of a kind, each for its queue."""

from __future__ import annotations

import json
import re
import zlib

from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.config.queue_file import BUILT_IN, parse_queues
from provider_gateway.demo.failing_messages import RECOVERS_AFTER, failing_messages
from provider_gateway.demo.service import OF_THE_DEMO

NOW = 1_800_000_000.5


class FailingMessagesTests(SynchronousTestCase):
    """The messages for the demo's own entry, and for those of a queue file."""

    def setUp(self) -> None:
        (self.entry,) = OF_THE_DEMO
        self.messages = list(failing_messages(self.entry, NOW))

    def test_own_entry(self) -> None:
        """The demo's entry is the built-in one, but that failed messages are parked after a second attempt, soon."""
        (built_in,) = BUILT_IN
        self.assertEqual(
            built_in, self.entry.model_copy(update={"dle": False, "max_attempts": 5, "retry_delay": 60_000})
        )
        self.assertLessEqual(self.entry.retry_delay * (self.entry.max_attempts - 1), 5_000)

    def test_number(self) -> None:
        """There are twelve, each with ids of its own."""
        self.assertEqual(12, len(self.messages))
        self.assertEqual(12, len({message.message_id for message in self.messages}))
        self.assertEqual(12, len({message.headers["RqUID"] for message in self.messages}))

    def test_model_that_recovers(self) -> None:
        """The model fails for some until a time soon to come, for others each time, with a text that says why."""
        asked = [json.loads(message.body) for message in self.messages if b'"status"' in message.body]
        self.assertEqual({500}, {body["status"] for body in asked})
        self.assertTrue(all(body["error"] for body in asked))
        self.assertEqual({int(NOW) + RECOVERS_AFTER, None}, {body.get("until") for body in asked})

    def test_forms_of_bodies(self) -> None:
        """There is JSON, text, an image, and bytes that are no text."""
        types = [message.content_type.partition(";")[0] for message in self.messages]
        self.assertEqual({"application/json", "text/plain", "image/png", "application/octet-stream"}, set(types))
        image = self.messages[types.index("image/png")].body
        pixels = zlib.decompress(image[image.index(b"IDAT") + 4 : image.index(b"IEND") - 8])
        self.assertEqual((b"\x89PNG", 64 * (1 + 3 * 96)), (image[:4], len(pixels)))
        with self.assertRaises(UnicodeDecodeError):
            self.messages[types.index("application/octet-stream")].body.decode()

    def test_hostile(self) -> None:
        """One message has a script in each field that a page shows: key, request id, header, body, model error."""
        hostile = self.messages[-1]
        error = json.loads(hostile.body)["error"]
        for text in (hostile.routing_key, hostile.headers["RqUID"], hostile.headers["customer"], error):
            self.assertIn("<script>", text)

    def test_keys(self) -> None:
        """Each message comes to the work queue of the entry, whatever the kind of its exchange."""
        for text in (
            "topic: EX, queueName: q, bindingKey: [a.*.b, '#.c']",
            "topic: EX, queueName: q, bindingKey: '#'",
            "topic: EX, queueName: q, bindingKey: plain, exchangeType: direct",
            "topic: EX, queueName: q, exchangeType: fanout",
            "topic: '', queueName: q",
        ):
            (entry,) = parse_queues(f"- {{{text}}}", "test")
            for message in failing_messages(entry, NOW):
                self.assertTrue(_leads_to(entry.taken_keys, message.routing_key), (text, message.routing_key))
                self.assertLessEqual(len(message.routing_key.encode()), 255)
        self.assertIn("<script>", list(failing_messages(self.entry, NOW))[-1].routing_key)

    def test_entry_without_attempts(self) -> None:
        """Where a failure would become a reply at once, the reply has no queue, so that the message is parked."""
        for text, expected in (
            ("dle: true, replyTo: r", None),
            ("dle: false", None),
            ("dle: false, replyTo: r", "worker-7.replies"),
        ):
            (entry,) = parse_queues(f"- {{topic: EX, queueName: q, bindingKey: k, {text}}}", "test")
            (reply_to,) = {each.reply_to for each in failing_messages(entry, NOW) if b'"status"' in each.body}
            self.assertEqual(expected, reply_to)


def _leads_to(patterns: tuple[str, ...], key: str) -> bool:
    def expression(pattern: str) -> str:
        return re.escape(pattern).replace(r"\*", r"[^.]+").replace(r"\#", ".*")

    return any(re.fullmatch(expression(pattern), key) for pattern in patterns)
