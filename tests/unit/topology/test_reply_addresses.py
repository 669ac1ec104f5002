"""Which reply addresses of a message are allowed."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.config.queue_file import QueueEntry
from provider_gateway.errors import SettingsError
from provider_gateway.topology.reply_addresses import ReplyAddresses, reply_prefix, reply_queue_name


def entry(name: str, **more: Any) -> QueueEntry:
    """An entry of the queue file."""
    return QueueEntry.model_validate({"topic": "", "queueName": name, **more})


WAITING = {"dleExchange": "e", "dleQueue": "waiting"}
WORKER, FIRST = entry("worker"), entry("first", replyTo="response", dleParams=WAITING, parkingQueue="parked")
SECOND = entry("second", replyTo="other")
FIRST_QUEUES = ("first", "first.retry", "parked", "waiting")


class ReplyPrefixTests(SynchronousTestCase):
    """The prefix of the gateways' reply queues."""

    def test_name(self) -> None:
        """An instance's queue has the prefix and its own name; together they have 255 bytes at most."""
        self.assertEqual(reply_queue_name([WORKER, FIRST], "one"), "response.one")
        longest = entry("q", replyTo="é" * 125)
        self.assertEqual(len(reply_queue_name([longest], "1234").encode()), 255)
        error = self.assertRaises(SettingsError, reply_queue_name, [longest], "12345")
        for part in ("replyTo", "INSTANCE", "'12345'", "255 bytes"):
            self.assertIn(part, str(error))

    def test_prefix(self) -> None:
        """It is the first ``replyTo`` of the queue file, whichever entry has it, or a default."""
        for entries, expected in (
            ([FIRST, SECOND], "response"),
            ([WORKER, SECOND, FIRST], "other"),
            ([WORKER], "replies"),
        ):
            self.assertEqual(expected, reply_prefix(entries))


class ReplyAddressesTests(SynchronousTestCase):
    """The allowed addresses of messages of one queue."""

    def assert_allowed(self, addresses: ReplyAddresses, *allowed: str | None) -> None:
        for each in allowed:
            self.assertTrue(addresses.allow(each), each)

    def assert_refused(self, addresses: ReplyAddresses, *refused: str) -> None:
        for each in refused:
            self.assertFalse(addresses.allow(each), each)

    def test_any(self) -> None:
        """Without patterns every address is allowed, except the queues of any entry."""
        addresses = ReplyAddresses(SECOND, [WORKER, FIRST, SECOND])
        self.assert_allowed(addresses, None, "", "anything", "amq.gen-x", "first.x", "firsts", "other", "response.a")
        self.assert_refused(addresses, *FIRST_QUEUES, "worker", "worker.retry", "worker.parking", "second")

    def test_patterns(self) -> None:
        """With patterns an address must match one of them, and must not be a queue of any entry."""
        guarded = entry("guarded", replyToAllowed=["clients.*", "first.#", "exact"])
        addresses = ReplyAddresses(guarded, [FIRST, guarded])
        self.assert_allowed(addresses, None, "clients.a", "first.x.y", "exact")
        self.assert_refused(addresses, "clients", "clients.a.b", "anything", "", "exact.x", "first", "first.retry")

    def test_configured(self) -> None:
        """The entry's own address, that of the gateways, and names below them are always allowed."""
        guarded = entry("guarded", replyTo="own", replyToAllowed=["clients.*"])
        addresses = ReplyAddresses(guarded, [FIRST, SECOND, guarded])
        self.assert_allowed(addresses, "own", "own.a", "response", "response.host-1", "response.a.b")
        self.assert_refused(addresses, "owner", "responses", "other", "other.a")

    def test_gateways_without_a_name(self) -> None:
        """Without any ``replyTo`` the gateways' reply queues are still allowed."""
        guarded = entry("guarded", replyToAllowed=["clients.*"])
        addresses = ReplyAddresses(guarded, [guarded])
        self.assert_allowed(addresses, "replies", "replies.host-1")
        self.assert_refused(addresses, "repliesx", "reply")

    def test_next_stage(self) -> None:
        """A configured address may be the work queue of another entry, which continues with the reply."""
        stage = entry("stage", replyTo="first")
        self.assert_allowed(ReplyAddresses(stage, [stage, FIRST]), "first")

    def test_ours_below_a_configured_name(self) -> None:
        """A queue of an entry is not allowed even if its name looks like one below a configured address."""
        work = entry("response.work", replyTo="response")
        stage = entry("stage", replyTo="first")
        self.assert_refused(ReplyAddresses(work, [work]), "response.work", "response.work.retry")
        self.assert_refused(ReplyAddresses(stage, [stage, FIRST]), "first.retry")

    def test_webhooks(self) -> None:
        """The queues from which webhooks are sent are not allowed; those of hosts with such names are."""
        addresses = ReplyAddresses(FIRST, [FIRST])
        self.assert_refused(addresses, "response.webhooks", "response.webhooks.retry.5s", "response.webhooks.parking")
        self.assert_allowed(addresses, "response.webhooks.example-1234abcd", "response.results")

    def test_not_utf_8(self) -> None:
        """An address that is not UTF-8 is allowed: it cannot be a queue of ours."""
        address: Any = b"\xff"
        self.assertTrue(ReplyAddresses(FIRST, [FIRST]).allow(address))
