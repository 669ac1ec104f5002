"""The objects at the broker that gateways with a result store share."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.errors import SettingsError
from provider_gateway.topology.declarations import Exchange, Queue, objects_of
from provider_gateway.topology.reply_addresses import ReplyAddresses
from provider_gateway.topology.result_objects import check_result_names, notice_queue_name, reply_queue, result_objects
from tests.support.queue_entries import dle, entry, seed

NO_LIMIT = 2**31 - 1


class ObjectsTests(SynchronousTestCase):
    """What is declared."""

    def test_objects(self) -> None:
        """They are durable, and have names below the prefix of the reply queues."""
        expected = [
            Queue("response.results", {"x-queue-type": "classic"}),
            Exchange("response.done", "direct"),
            Exchange("response.canceled", "fanout"),
        ]
        self.assertEqual(result_objects([entry(), entry("other", replyTo="response")]), expected)
        self.assertEqual(result_objects([entry()])[0].name, "replies.results")

    def test_quorum(self) -> None:
        """If any entry's queue survives the loss of a node, so does the results queue."""
        queue, *_ = result_objects([entry(replyTo="r"), entry("other", queueType="quorum")])
        self.assertEqual(queue, Queue("r.results", {"x-queue-type": "quorum", "x-delivery-limit": NO_LIMIT}))

    def test_reply_queue(self) -> None:
        """With a store, replies that nobody takes go to the results queue, long before their queue expires."""
        queue = reply_queue("response.one", [entry()], expires=600, results="response.results")
        expected = {
            "x-queue-type": "classic",
            "x-expires": 600_000,
            "x-message-ttl": 60_000,
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": "response.results",
        }
        self.assertEqual(queue.arguments, expected)

    def test_quorum_reply_queue(self) -> None:
        """A quorum queue lets go of a reply only when the results queue has it."""
        queue = reply_queue("r.one", [entry(queueType="quorum")], expires=1, results="r.results")
        expected = {
            "x-queue-type": "quorum",
            "x-delivery-limit": NO_LIMIT,
            "x-expires": 1000,
            "x-message-ttl": 100,
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": "r.results",
            "x-overflow": "reject-publish",
            "x-dead-letter-strategy": "at-least-once",
        }
        self.assertEqual(queue.arguments, expected)

    def test_reply_queue_without_a_store(self) -> None:
        """Without a store nothing is dead-lettered."""
        queue = reply_queue("response.one", [entry()], expires=600)
        self.assertEqual(queue.arguments, {"x-queue-type": "classic", "x-expires": 600_000})

    def test_replies_may_go_there(self) -> None:
        """The results queue is an allowed reply address, whatever ``replyToAllowed`` says."""
        for entries in ([entry(replyTo="response")], [entry()], [entry(replyToAllowed=["clients.*"])]):
            queue, *_ = result_objects(entries)
            self.assertTrue(ReplyAddresses(entries[0], entries).allow(queue.name))


class NamesTests(SynchronousTestCase):
    """Names that cannot be used."""

    def assert_wrong(self, *parts: str, **keys: object) -> None:
        error = self.assertRaises(SettingsError, check_result_names, [entry("first"), entry("second", **keys)])
        for part in (*parts, "RESULT_STORE"):
            self.assertIn(part, str(error))

    def test_right(self) -> None:
        """Usual queue files are all right, and the longest name is."""
        check_result_names([entry(replyTo="response"), seed("other", dleParams=dle("w2"))])
        check_result_names([entry(replyTo="r" * 236)])

    def test_too_long(self) -> None:
        """A name that is too long for AMQP is found at start: bytes count, not characters."""
        self.assert_wrong("replyTo", "255 bytes", "shorten", replyTo="r" * 237)
        self.assert_wrong("replyTo", "255 bytes", "shorten", replyTo="é" * 119)

    def test_taken(self) -> None:
        """A queue or exchange of an entry that is called like a shared one is found at start, in whatever role."""
        name = "response.results"
        self.assert_wrong(f"queue '{name}'", "'second'", replyTo="response", parkingQueue=name)
        self.assert_wrong(f"queue '{name}'", "'second'", dle=True, dleParams=dle(name), replyTo="response")
        for other in (entry(name), entry("other", replyTo=name)):
            error = self.assertRaises(SettingsError, check_result_names, [entry(replyTo="response"), other])
            self.assertIn(f"queue '{name}'", str(error))
        for name in ("response.done", "response.canceled"):
            self.assert_wrong(f"exchange '{name}'", "'second'", replyTo="response", topic=name)

    def test_notice_queues(self) -> None:
        """The name of an instance's queue for notices has room for what makes it unique."""
        for size in (255 - 9, 255 - 8):
            entries = [entry(replyTo="r" * (size - len(".one.done")))]
            if size == 246:
                self.assertEqual(len(notice_queue_name(entries, "one", "done")), 246)
            else:
                error = self.assertRaises(SettingsError, notice_queue_name, entries, "one", "done")
                self.assertIn("INSTANCE", str(error))

    def test_other_kind(self) -> None:
        """Queues and exchanges have names of their own: a queue may be called like one of the exchanges."""
        entries = [entry("response.done", replyTo="response")]
        self.assertIn("queue 'response.done'", [str(each) for each in objects_of(entries[0])])
        check_result_names(entries)
