"""Requests whose answers can wait, from bytes to bytes: ``Prefer``, and a plain request that ends with 504."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import fail

from provider_gateway.errors import StoreUnavailable
from tests.support.model_peer import response
from tests.unit.app.base import ASYNC, KEY, KeptTestCase


class AsyncTests(KeptTestCase):
    """``Prefer: respond-async`` and ``wait=N``."""

    def test_with_a_key(self) -> None:
        """With a key the answer is 202, too, for the first request and for one that joins it."""
        first = self.accepted(self.predict(ASYNC, KEY))
        self.assertEqual(self.accepted(self.predict(ASYNC, KEY)), first)
        waits = self.predict("Prefer: wait=5", KEY)
        self.clock.pump([1] * 5)
        self.assertEqual(self.accepted(waits), first)
        other = self.predict("Prefer: wait=5", 'Idempotency-Key: "other"')
        self.clock.pump([1] * 5)
        self.assertNotEqual(self.accepted(other), first)

    def test_acceptance_not_noted(self) -> None:
        """A request that the broker has is answered with 202, also if the store could not note that it is accepted."""
        self.patch(self.store, "accept", lambda _: fail(StoreUnavailable("The result store is too slow.")))
        waits = self.predict("Prefer: wait=5", KEY)
        self.clock.pump([1] * 5)
        self.accepted(waits)

    def test_fetch(self) -> None:
        """A 202 names the request; when it is answered, its result is what ``/v1/predict`` would have answered."""
        location = self.accepted(self.predict("Prefer: Respond-Async"))
        (call,) = self.calls
        self.assertNotIn("prefer", str(call.request()[:2]).lower())
        pending = self.get(f"{location}/result")
        self.assertEqual((pending.status, json.loads(pending.body)["status"]), (202, "pending"))
        call.respond(response(201, b"\x00\xff", "Content-Type: image/png", "X-Model: m", "Connection: close"))
        call.close()
        self.pump()
        document = json.loads(self.get(location).body)
        self.assertEqual(("succeeded", 201, 1), tuple(document[n] for n in ("status", "model_status", "attempts")))
        self.assertRegex(document["finished"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
        self.assertEqual((document["uid"], document["rquid"]), (document["id"], "r1"))
        got = self.get(f"{location}/result")
        plain = self.predict()
        self.calls[-1].respond(response(201, b"\x00\xff", "Content-Type: image/png", "X-Model: m", "Connection: close"))
        self.calls[-1].close()
        self.pump()
        expected = plain.response()
        ours = {"rquid", "date"}
        self.assertEqual((expected.status, expected.body), (got.status, got.body))
        self.assertEqual(
            {name: value for name, value in expected.headers.items() if name not in ours},
            {name: value for name, value in got.headers.items() if name not in ours},
        )
        self.assertEqual(self.in_flight(), 0)

    def test_applied(self) -> None:
        """A 202 says which preferences were honoured, and how long was waited at most."""
        for prefer, applied in (
            ("respond-async", "respond-async"), ("wait=0", "wait=0"),
            ("wait=0, respond-async", "respond-async, wait=0"),
        ):  # fmt: skip
            self.assertEqual(self.predict(f"Prefer: {prefer}").response().headers["preference-applied"], applied)

    def test_wait(self) -> None:
        """With ``wait=N`` the answer is sent if it comes in time, else 202 after N seconds or the reply timeout."""
        client = self.predict("Prefer: wait=5")
        self.advance(4)
        self.answer(200, b"42")
        self.assertEqual((client.response().status, client.response().body), (200, b"42"))
        self.assertNotIn("idempotent-replayed", client.response().headers)
        for wait, seconds in (("5", 5), ("9" * 30, 90)):
            client = self.predict(f"Prefer: wait={wait}, respond-async")
            self.advance(seconds - 1)
            self.assertEqual(client.responses(), [])
            self.advance(1)
            self.accepted(client)
            self.calls[-1].close()
            self.pump()
        self.assertEqual(self.in_flight(), 0)

    def test_odd_preferences(self) -> None:
        """Preferences that are malformed are ignored: the request is a plain one."""
        for prefer in ("wait=-1", "wait=1.5", "wait=soon", "return=minimal", "respond-async=no", ""):
            client = self.predict(f"Prefer: {prefer}")
            self.answer()
            self.assertEqual(client.response().status, 200)
        self.assertEqual(self.store.records, {})

    def test_refused(self) -> None:
        """A request that the broker does not route is refused as a plain one, and leaves no record."""
        client = self.client()
        client.post("/v1/predict", b"1", "routing-key: other", ASYNC)
        self.pump()
        self.assertEqual(self.problem(client.response()), (404, "no-route"))
        self.assertEqual(self.problem(self.predict(ASYNC, body=b"{").response()), (422, "invalid-json"))
        self.assertEqual((self.store.records, self.in_flight()), ({}, 0))

    def test_caller_leaves(self) -> None:
        """If the caller leaves while it waits, the request goes on, its place is free, and nothing is logged."""
        for headers in (("Prefer: wait=50",), (KEY,)):
            client = self.predict(*headers)
            client.leave()
            self.assertEqual(self.in_flight(), 0)
            self.answer()
        self.assertEqual({each.status.value for each in self.store.records.values()}, {"succeeded"})
        self.assertEqual(len(self.store.records), 2)

    def test_store_is_away(self) -> None:
        """With a store that is away, what needs it gets 503 and is not published; plain requests go on."""
        location = self.accepted(self.predict(ASYNC))
        self.answer()
        calls = len(self.calls)
        self.store.go_away()
        for headers in ((ASYNC,), ("Prefer: wait=1",), (KEY,)):
            got = self.predict(*headers).response()
            self.assertEqual((self.problem(got), got.headers["retry-after"]), ((503, "store-unavailable"), "5"))
        for method, path in (("GET", location), ("GET", f"{location}/result"), ("DELETE", location)):
            self.assertEqual(self.problem(self.send(method, path).response()), (503, "store-unavailable"))
        self.assertEqual(len(self.calls), calls)
        client = self.predict()
        self.answer()
        self.assertEqual(client.response().status, 200)


class LateTests(KeptTestCase):
    """Plain requests that end with 504."""

    def test_late(self) -> None:
        """The 504 names the request by ``request_id``, ``uid`` and ``Location``; a late answer is kept."""
        client = self.predict()
        self.advance(89)
        self.assertEqual(self.store.records, {})
        self.advance(1)
        got = client.response()
        self.assertEqual(self.problem(got), (504, "deadline-passed"))
        id_ = got.problem["request_id"]
        self.assertEqual((got.problem["uid"], got.headers["location"]), (id_, f"/v1/requests/{id_}"))
        self.assertTrue(got.problem["detail"].endswith(" Its answer is kept: see Location."), got.problem["detail"])
        self.assertEqual(round(self.wall_clock() - self.store.records[id_].created), 90)
        self.assertEqual(self.status(got.headers["location"]), "pending")
        self.answer(200, b"late")
        result = self.get(f"/v1/requests/{id_}/result")
        self.assertEqual((result.status, result.body), (200, b"late"))

    def test_store_is_away(self) -> None:
        """With a store that is away the 504 names nothing."""
        self.store.go_away()
        client = self.predict()
        self.advance(90)
        got = client.response()
        self.assertEqual(self.problem(got), (504, "deadline-passed"))
        self.assertFalse({"request_id", "uid"} & got.problem.keys())
        self.assertNotIn("Location", got.problem["detail"])
        self.assertNotIn("location", got.headers)


class NoStoreTests(KeptTestCase):
    """A process without a store."""

    def make_store(self) -> Any:
        return None

    def test_off(self) -> None:
        """``Prefer`` is ignored, keys and webhooks are 501, and there is nothing below ``/v1/requests``."""
        client = self.predict(ASYNC)
        self.answer()
        self.assertEqual(client.response().status, 200)
        self.assertNotIn("location", client.response().headers)
        for header in (KEY, "Webhook: w"):
            self.assertEqual(self.problem(self.predict(header).response()), (501, "results-not-configured"))
        for method in ("GET", "DELETE", "OPTIONS", "POST"):
            for path in ("/v1/requests", f"/v1/requests/{'0' * 32}", f"/v1/requests/{'0' * 32}/result"):
                self.assertEqual(self.problem(self.get(path, method=method)), (404, "not-found"), (method, path))
        client = self.predict()
        self.advance(90)
        self.assertFalse({"request_id", "uid"} & client.response().problem.keys())
