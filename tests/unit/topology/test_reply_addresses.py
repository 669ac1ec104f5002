"""Which reply addresses of a message are served."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.config.queue_file import QueueEntry
from provider_gateway.topology.reply_addresses import ReplyAddresses, reply_prefix


def entry(name: str, **more: Any) -> QueueEntry:
    """An entry of the queue file."""
    return QueueEntry.model_validate({"topic": "", "queueName": name, **more})


WAITING = {"dleExchange": "e", "dleQueue": "waiting"}
WORKER, FIRST = entry("worker"), entry("first", replyTo="response", dleParams=WAITING, parkingQueue="parked")
SECOND = entry("second", replyTo="other")
FIRST_QUEUES = ("first", "first.retry", "parked", "waiting")


class ReplyPrefixTests(SynchronousTestCase):
    """The name below which the gateways have their reply queues."""

    def test_prefix(self) -> None:
        """It is the first ``replyTo`` of the queue file, whichever entry has it, or a default."""
        for entries, expected in (
            ([FIRST, SECOND], "response"),
            ([WORKER, SECOND, FIRST], "other"),
            ([WORKER], "replies"),
        ):
            self.assertEqual(expected, reply_prefix(entries))


class ReplyAddressesTests(SynchronousTestCase):
    """The addresses that messages of one queue may bring."""

    def assert_allowed(self, addresses: ReplyAddresses, *allowed: str | None) -> None:
        for each in allowed:
            self.assertTrue(addresses.allow(each), each)

    def assert_refused(self, addresses: ReplyAddresses, *refused: str) -> None:
        for each in refused:
            self.assertFalse(addresses.allow(each), each)

    def test_any(self) -> None:
        """Without patterns a message may be answered anywhere but at a queue of ours, of whichever entry."""
        addresses = ReplyAddresses(SECOND, [WORKER, FIRST, SECOND])
        self.assert_allowed(addresses, None, "", "anything", "amq.gen-x", "first.x", "firsts", "other", "response.a")
        self.assert_refused(addresses, *FIRST_QUEUES, "worker", "worker.retry", "worker.parking", "second")

    def test_patterns(self) -> None:
        """With patterns a message may be answered where one of them says, but at no queue of ours."""
        guarded = entry("guarded", replyToAllowed=["clients.*", "first.#", "exact"])
        addresses = ReplyAddresses(guarded, [FIRST, guarded])
        self.assert_allowed(addresses, None, "clients.a", "first.x.y", "exact")
        self.assert_refused(addresses, "clients", "clients.a.b", "anything", "", "exact.x", "first", "first.retry")

    def test_configured(self) -> None:
        """The entry's own address, that of the gateways, and names below them may always be answered."""
        guarded = entry("guarded", replyTo="own", replyToAllowed=["clients.*"])
        addresses = ReplyAddresses(guarded, [FIRST, SECOND, guarded])
        self.assert_allowed(addresses, "own", "own.a", "response", "response.host-1", "response.a.b")
        self.assert_refused(addresses, "owner", "responses", "other", "other.a")

    def test_gateways_without_a_name(self) -> None:
        """Without any ``replyTo`` the gateways' reply queues may be answered still."""
        guarded = entry("guarded", replyToAllowed=["clients.*"])
        addresses = ReplyAddresses(guarded, [guarded])
        self.assert_allowed(addresses, "replies", "replies.host-1")
        self.assert_refused(addresses, "repliesx", "reply")

    def test_next_stage(self) -> None:
        """A configured address may be the work queue of another entry, which goes on with the answer."""
        stage = entry("stage", replyTo="first")
        self.assert_allowed(ReplyAddresses(stage, [stage, FIRST]), "first")

    def test_ours_below_a_configured_name(self) -> None:
        """A queue of ours is none to be answered at by being called as if below a configured address."""
        work = entry("response.work", replyTo="response")
        stage = entry("stage", replyTo="first")
        self.assert_refused(ReplyAddresses(work, [work]), "response.work", "response.work.retry")
        self.assert_refused(ReplyAddresses(stage, [stage, FIRST]), "first.retry")

    def test_not_utf_8(self) -> None:
        """An address that is no text is no queue of ours."""
        address: Any = b"\xff"
        self.assertTrue(ReplyAddresses(FIRST, [FIRST]).allow(address))
