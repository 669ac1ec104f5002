"""The queues of webhooks."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.config.queue_file import QueueEntry
from provider_gateway.topology.reply_addresses import ReplyAddresses
from provider_gateway.topology.webhook_queues import WebhookQueues


def entry(**more: Any) -> QueueEntry:
    """An entry of the queue file."""
    return QueueEntry.model_validate({"topic": "", "queueName": "work", **more})


class WebhookQueuesTests(SynchronousTestCase):
    """Names and arguments."""

    def test_names(self) -> None:
        """All names begin with the first ``replyTo``."""
        names = [queue.name for queue in WebhookQueues.of([entry(replyTo="response")]).objects()]
        tiers = [f"response.webhooks.retry.{each}" for each in ("5s", "30s", "5m", "30m", "2h")]
        self.assertEqual(["response.webhooks", "response.webhooks.parking", *tiers], names)
        self.assertEqual("replies.webhooks", WebhookQueues.of([entry()]).work.name)

    def test_tiers(self) -> None:
        """What waits in a tier comes back to the work queue when its time is over."""
        queues = WebhookQueues.of([entry()])
        self.assertEqual([5, 30, 300, 1800, 7200], [seconds for seconds, _ in queues.tiers])
        for seconds, queue in queues.tiers:
            self.assertEqual(
                {
                    "x-queue-type": "classic",
                    "x-message-ttl": 1000 * seconds,
                    "x-dead-letter-exchange": "",
                    "x-dead-letter-routing-key": "replies.webhooks",
                },
                queue.arguments,
            )
        self.assertEqual({"x-queue-type": "classic"}, queues.work.arguments)
        self.assertEqual({"x-queue-type": "classic"}, queues.parking.arguments)

    def test_quorum(self) -> None:
        """With a quorum queue in the file, these are quorum queues, that lose nothing by dead-lettering or limits."""
        queues = WebhookQueues.of([entry(), entry(queueName="other", queueType="quorum")])
        for queue in queues.objects():
            self.assertEqual(
                ("quorum", 2**31 - 1), tuple(queue.arguments[f"x-{key}"] for key in ("queue-type", "delivery-limit"))
            )
        for _, queue in queues.tiers:
            self.assertEqual("at-least-once", queue.arguments["x-dead-letter-strategy"])
            self.assertEqual("reject-publish", queue.arguments["x-overflow"])

    def test_no_reply_goes_there(self) -> None:
        """None of them is an allowed reply address: what a model answers must not be sent as a webhook."""
        entries = [entry(replyTo="response"), entry(queueName="other", replyToAllowed=["#"])]
        for each in entries:
            addresses = ReplyAddresses(each, entries)
            for queue in WebhookQueues.of(entries).objects():
                self.assertFalse(addresses.allow(queue.name), queue.name)
            self.assertTrue(addresses.allow("response.webhooks2"))
