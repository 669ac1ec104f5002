"""What a model says about its error is in the log and on the parked message; in the reply only where that is set."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from provider_gateway.errors import ModelFailure
from provider_gateway.message.copies import PG_DROPPED
from provider_gateway.model.model import ModelResponse
from provider_gateway.model.model_errors import ModelErrors
from tests.support.observability import collect_log
from tests.support.provider_on_broker import ProviderOnBrokerTestCase


class ErrorTestCase(ProviderOnBrokerTestCase):
    """A model that says why it fails."""

    def fail_with(self, text: str, errors: ModelErrors | None = None) -> None:
        """Let the model call fail with a text of the model."""
        failure = ModelFailure("The model answered with HTTP status 500.", "status")
        self.model.calls[-1][2].errback((errors or ModelErrors()).tell(failure, text))
        self.pump()

    def reject_with(self, text: str) -> None:
        """Let the model answer with a 4xx that has a text."""
        self.model.calls[-1][2].callback(ModelResponse(422, b"no", "text/plain", {}, text))
        self.pump()

    def parked_headers(self) -> dict[str, Any]:
        return dict(self.taken("work.parking").headers)


class RetriedTests(ErrorTestCase):
    """An entry with retries."""

    def test_last_attempt(self) -> None:
        """Each attempt's error is in its warning. The parked message has that of the last one, and the time."""
        log = collect_log(self)
        self.ask()
        for text in ("boom 1", "boom 2", "boom 3"):
            self.fail_with(text)
            self.advance(60)
        warnings = [each for each in log if each["log_level"].name == "warn"]
        self.assertEqual([each["model_error"] for each in warnings], ["boom 1", "boom 2", "boom 3"])
        headers = self.parked_headers()
        self.assertEqual(
            (headers["pg-model-error"], headers["pg-reason"], headers["RqUID"]), ("boom 3", "status", "r1")
        )
        self.assertEqual(headers["pg-parked-at"], 120_000)
        reply = self.taken("back")
        self.assertNotIn("boom", reply.body.decode())
        self.assertEqual(set(reply.headers), {"RqUID", "pg-status", "pg-reason"})

    def test_silent(self) -> None:
        """A model that says nothing in its last attempt leaves no header."""
        self.ask()
        for text in ("boom", "boom", ""):
            self.fail_with(text)
            self.advance(60)
        self.assertNotIn("pg-model-error", self.parked_headers())

    def test_to_callers(self) -> None:
        """Where it is set, the problem document has it: the last one, and that of a caller who waits no longer."""
        tells = ModelErrors(in_log=False, to_callers=True)
        self.ask(headers={"pg-deadline": 30_000})
        self.fail_with("boom 1", tells)
        self.assertEqual(json.loads(self.taken("back").body)["model_error"], "boom 1")
        self.ask(message_id="m2")
        for _ in range(3):
            self.fail_with("boom 2", tells)
            self.advance(60)
        document = json.loads(self.taken("back").body)
        self.assertEqual((document["model_error"], document["status"]), ("boom 2", 502))
        for parked in self.take("work.parking"):
            self.assertNotIn("pg-model-error", parked.headers)

    def test_request_id(self) -> None:
        """A message without request id is parked with that of the log line; one that it has, valid or not, stays."""
        log = collect_log(self)
        for headers in ({}, {"rquid": "own"}, {"RQUID": 7}):
            self.ask(headers=headers, message_id=f"m{len(headers)}{headers}")
            for _ in range(3):
                self.fail_with("boom")
                self.advance(60)
        ids = [
            {name: value for name, value in each.headers.items() if name.lower() == "rquid"}
            for each in self.take("work.parking")
        ]
        parked = [each["rquid"] for each in log if "parked in" in each["log_format"]]
        self.assertEqual(ids, [{"RqUID": parked[0]}, {"rquid": "own"}, {"RQUID": 7}])

    def test_claimed(self) -> None:
        """A client's own headers of these names are not believed, and not kept on copies."""
        self.ask(headers={"pg-model-error": "forged", "pg-parked-at": 1})
        for _ in range(3):
            self.fail_with("")
            self.advance(60)
        headers = self.parked_headers()
        self.assertNotIn("pg-model-error", headers)
        self.assertEqual(headers["pg-parked-at"], 120_000)


class UnretriedTests(ErrorTestCase):
    """An entry without retries."""

    keys: ClassVar[dict[str, Any]] = {}

    def test_nobody_to_answer(self) -> None:
        """Without a reply address, failures and 4xx are parked with what the model says, and both are warned of."""
        log = collect_log(self)
        for end, reason in ((self.fail_with, "status"), (self.reject_with, "rejected")):
            self.ask(reply_to=None, message_id=reason)
            end(f"boom {reason}")
            headers = self.parked_headers()
            self.assertEqual((headers["pg-model-error"], headers["pg-reason"]), (f"boom {reason}", reason))
            warning = [each for each in log if each["log_level"].name == "warn"][-1]
            self.assertEqual(warning["model_error"], f"boom {reason}")

    def test_reply_unrouted(self) -> None:
        """If nobody takes the reply either, the parked message has what the model said."""
        for end in (self.fail_with, self.reject_with):
            self.ask(reply_to="gone", message_id=end.__name__)
            end("boom")
            headers = self.parked_headers()
            self.assertEqual((headers["pg-model-error"], headers["pg-reason"]), ("boom", "reply"))

    def test_not_for_success(self) -> None:
        """A message that is parked though the model's call went well has no such header."""
        self.ask(reply_to="gone")
        self.answer()
        headers = self.parked_headers()
        self.assertNotIn("pg-model-error", headers)
        self.assertNotIn(PG_DROPPED, headers)
