"""Until when somebody waits for a reply: what the API says, what a message says, and who has given up."""

from __future__ import annotations

from twisted.internet.defer import CancelledError
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.errors import BrokerUnavailable, DeadlinePassed, NoRoute, OutcomeUnknown
from provider_gateway.messages import Message
from tests.unit.test_api import KEY, APITestCase
from tests.unit.test_rpc import RPCTestCase, collect_log


class RequestTests(APITestCase):
    """What a request says."""

    def test_deadline(self) -> None:
        """A request says until when somebody waits for its reply, in milliseconds; a client's own word is dropped."""
        self.clock.advance(1000.5)
        self.post(KEY, "pg-deadline: 5", "PG-Deadline: 6")
        headers = self.rpc.calls[0][0].headers
        self.assertEqual({k: v for k, v in headers.items() if k.lower().startswith("pg-")}, {"pg-deadline": 1_090_500})
        self.assertEqual(self.rpc.calls[0][0].deadline, 1090.5)

    def test_asynchronous(self) -> None:
        """A message that nobody waits for has no deadline, not even one of the client."""
        self.post(KEY, "pg-deadline: 5", path="/v1/publish")
        ((message, *_),) = self.publisher.published
        self.assertEqual([name for name in message.headers if name.lower().startswith("pg-")], [])
        self.assertIsNone(message.deadline)


class MessageTests(SynchronousTestCase):
    """What a message says."""

    def test_deadline(self) -> None:
        """A number is milliseconds since 1970; anything else, or nothing, is no deadline."""
        for value, expected in ((1500, 1.5), (0, 0), (1_700_000_000_123, 1_700_000_000.123), (-1000, -1)):
            self.assertEqual(Message(b"", {"pg-deadline": value}).deadline, expected)
        for headers in (
            {},
            {"pg-deadline": "1500"},
            {"pg-deadline": None},
            {"pg-deadline": 1.5},
            {"pg-deadline": True},
            {"PG-Deadline": 5},
        ):
            self.assertIsNone(Message(b"", headers).deadline, repr(headers))


class GivenUpTests(RPCTestCase):
    """Whose caller does not wait any more."""

    def test_waiting(self) -> None:
        """A caller who waits, one who was answered, and one who never asked have not given up."""
        self.call("c1")
        self.call("c2")
        self.reply("c2")
        for correlation_id in ("c1", "c2", "c3"):
            self.assertFalse(self.rpc.has_given_up(correlation_id), correlation_id)

    def test_given_up(self) -> None:
        """A caller who left, or whose time is over, or whose publish has no known outcome, has given up."""
        left = self.call("left")
        left.cancel()
        self.failureResultOf(left, CancelledError)
        late = self.call("late", timeout=5)
        self.clock.advance(5)
        self.failureResultOf(late, DeadlinePassed)
        unknown = self.call("unknown")
        self.publisher.fail(OutcomeUnknown("lost"))
        self.failureResultOf(unknown, OutcomeUnknown)
        for correlation_id in ("left", "late", "unknown"):
            self.assertTrue(self.rpc.has_given_up(correlation_id), correlation_id)

    def test_never_sent(self) -> None:
        """A request that was certainly not accepted is not remembered: there will be no message of it."""
        for error in (NoRoute("nowhere"), BrokerUnavailable("away")):
            calling = self.call()
            self.publisher.fail(error)
            self.failureResultOf(calling)
        self.assertFalse(self.rpc.has_given_up("c1"))

    def test_log(self) -> None:
        """A late or unknown reply is logged with what it may be found by; a matched one is not."""
        calling = self.call("late", timeout=5)
        self.clock.advance(5)
        self.failureResultOf(calling, DeadlinePassed)
        self.call("matched")
        logged = collect_log(self)
        for correlation_id in ("late", "other", "matched"):
            self.reply(correlation_id, headers={"RqUID": "r-" + correlation_id})
        found = [(each["kind"], each["rquid"], each["correlation_id"]) for each in logged]
        self.assertEqual(found, [("late", "r-late", "late"), ("unknown", "r-other", "other")])
