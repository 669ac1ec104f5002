"""What copies tell whoever looks at a parked message: where it came from, from whom, and the model's status."""

from __future__ import annotations

from typing import Any, ClassVar

from provider_gateway.errors import ModelBusy, ModelFailure
from provider_gateway.model.model import ModelResponse
from tests.support.provider_on_broker import ProviderOnBrokerTestCase


class ParkedHeadersTests(ProviderOnBrokerTestCase):
    """A message that the model fails on."""

    def fail(self, failure: ModelFailure) -> None:
        """Let the model call fail."""
        self.model.calls[-1][2].errback(failure)
        self.pump()

    def parked_after(self, *failures: ModelFailure) -> dict[str, Any]:
        """The headers of the parked message after these failures."""
        for failure in failures:
            self.fail(failure)
            self.advance(60)
        return dict(self.taken("work.parking").headers)

    def failures(self, *statuses: int | None) -> list[ModelFailure]:
        """A failure for each status."""
        return [ModelFailure("failed", "status", model_status=status) for status in statuses]

    def test_first_key(self) -> None:
        """The routing key of the first delivery stays through all copies, whatever the queues in between."""
        self.ask()
        headers = self.parked_after(*self.failures(500, 500, 502))
        self.assertEqual("predict.now", headers["pg-routing-key"])
        self.assertEqual(502, headers["pg-model-status"])

    def test_last_status(self) -> None:
        """The status is that of the last attempt; without an answer, there is none."""
        self.ask()
        self.assertNotIn("pg-model-status", self.parked_after(*self.failures(500, 500, None)))

    def test_identity(self) -> None:
        """Who sent the message is kept as it says itself, through all copies, and no more of it than a name has."""
        self.ask(headers={"pg-identity": "alice"})
        self.assertEqual("alice", self.parked_after(*self.failures(500, 500, 500))["pg-identity"])
        self.ask(headers={"pg-identity": "a" * 100_000}, message_id="m2")
        self.assertEqual("a" * 255, self.parked_after(*self.failures(500, 500, 500))["pg-identity"])
        for odd in (7, None, "", b"\xff", ["a"]):
            self.ask(headers={"pg-identity": odd}, message_id=f"m{odd}")
            self.assertNotIn("pg-identity", self.parked_after(*self.failures(500, 500, 500)))

    def test_forged(self) -> None:
        """Replays and routing key of a message that did not come through the return exchange are not believed."""
        self.ask(headers={"pg-replays": 99, "pg-routing-key": "elsewhere"})
        headers = self.parked_after(*self.failures(500, 500, 500))
        self.assertEqual("predict.now", headers["pg-routing-key"])
        self.assertNotIn("pg-replays", headers)


class RejectedTests(ProviderOnBrokerTestCase):
    """An entry without retries, and messages without a reply address."""

    keys: ClassVar[dict[str, Any]] = {"dle": False}

    def test_rejected(self) -> None:
        """A 4xx is the status, too."""
        self.ask(reply_to=None)
        self.model.calls[-1][2].callback(ModelResponse(422, b"no", "text/plain", {}, "no"))
        self.pump()
        self.assertEqual(422, self.taken("work.parking").headers["pg-model-status"])


class StatusTests(ProviderOnBrokerTestCase):
    """Failures that carry a status."""

    def test_busy(self) -> None:
        """A busy model's status is its own."""
        self.assertEqual(429, ModelBusy("busy", 1.0, model_status=429).model_status)
        self.assertIsNone(ModelBusy("busy").model_status)
