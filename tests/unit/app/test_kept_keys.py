"""Requests with an ``Idempotency-Key``, from bytes to bytes."""

from __future__ import annotations

from typing import Any, ClassVar

from tests.unit.app.base import ASYNC, KEY, KeptTestCase


class IdempotencyTests(KeptTestCase):
    """``Idempotency-Key``."""

    def test_replayed(self) -> None:
        """The same key and body get the stored answer, in either form of the key; the model is called once."""
        first = self.predict(KEY)
        self.answer(404, b"none")
        self.assertEqual((first.response().status, first.response().headers.get("idempotent-replayed")), (404, None))
        for headers in ((KEY,), ("Idempotency-Key: k",), (KEY, ASYNC), (KEY, "Prefer: wait=3")):
            got = self.predict(*headers).response()
            self.assertEqual((got.status, got.body, got.headers["idempotent-replayed"]), (404, b"none", "true"))
        self.assertEqual(len(self.calls), 1)

    def test_reused(self) -> None:
        """The same key with another body gets 422; for another routing key it is another key."""
        self.predict(KEY)
        got = self.predict(KEY, body=b"[2]").response()
        self.assertEqual(self.problem(got), (422, "idempotency-key-reused"))
        client = self.client()
        client.post("/v1/predict", b"[2]", "routing-key: predict.later", KEY)
        self.pump()
        self.assertEqual((client.responses(), len(self.calls)), ([], 2))

    def test_joins(self) -> None:
        """A duplicate of a request in progress waits for its answer until 409; an asynchronous one gets its 202."""
        first = self.predict(KEY)
        self.advance(10)
        second = self.predict(KEY)
        location = self.accepted(self.predict(KEY, ASYNC))
        self.assertEqual(self.accepted(self.predict(KEY, ASYNC)), location)
        self.advance(80)
        got = first.response()
        self.assertEqual((self.problem(got), got.headers["location"]), ((504, "deadline-passed"), location))
        third = self.predict(KEY)
        self.advance(10)
        got = second.response()
        self.assertEqual((self.problem(got), got.headers["location"]), ((409, "idempotency-in-progress"), location))
        self.assertEqual(third.responses(), [])
        self.assertEqual(len(self.store.records), 1)

    def test_malformed(self) -> None:
        """A malformed key gets 400, and nothing is published."""
        for value in ("", '""', '"', "a b", "k" * 256):
            self.assertEqual(self.problem(self.predict(f"Idempotency-Key: {value}").response()), (400, "bad-request"))
        self.assertEqual(self.problem(self.predict(KEY, KEY).response()), (400, "bad-request"))
        self.assertEqual(self.problem(self.predict("Webhook: http://evil/").response()), (400, "bad-request"))
        self.assertEqual((self.calls, self.store.records), ([], {}))

    def test_forwarded(self) -> None:
        """The key is forwarded to the model, as it was sent."""
        self.predict(KEY)
        self.assertIn("idempotency-key", str(self.calls[0].request()[:2]).lower())


class FailureTests(KeptTestCase):
    """A model that fails at its only attempt."""

    keys: ClassVar[dict[str, Any]] = {"dle": False}

    def test_key_is_free(self) -> None:
        """After 502 the key is free: the next request with it is a new one."""
        for _ in range(2):
            client = self.predict(KEY)
            self.answer(500)
            got = client.response()
            self.assertEqual((got.status, got.headers.get("idempotent-replayed")), (502, None))
        self.assertEqual(len(self.calls), 2)
