"""Requests whose answers are kept, from bytes to bytes through a whole process with a store in memory."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from twisted.internet.defer import fail

from provider_gateway.errors import StoreUnavailable
from provider_gateway.gateway.status_document import status_document
from provider_gateway.security.identity import Identity
from provider_gateway.store.columns import record_of, record_row
from tests.support.http_client import Client, Response
from tests.support.memory_store import MemoryStore
from tests.support.model_peer import response
from tests.support.observability import counted
from tests.support.service import HTTP, ServiceTestCase

ASYNC = "Prefer: respond-async"
KEY = 'Idempotency-Key: "k"'


class KeptTestCase(ServiceTestCase):
    """A process with both roles and a store.

    Attributes:
        identity: of whoever sends the next request; None for a caller without a certificate.
    """

    identity: Identity | None = None
    store: MemoryStore

    def setUp(self) -> None:
        self.store = self.make_store()
        super().setUp()

    def make_store(self) -> Any:
        return MemoryStore()

    def begin(self, **settings: Any) -> None:
        super().begin(model_timeout=300, **settings)

    def client(self) -> Client:
        (site,) = [factory for port, factory, *_ in self.clock.tcpServers[-1:] if port == HTTP]
        client = Client(site)
        client.protocol.identity = self.identity
        self.addCleanup(self.leave, client)  # before the next test: what waits would end in that one
        return client

    @staticmethod
    def leave(client: Client) -> None:
        if client.protocol.state != "closing":
            client.leave()

    def post(self, body: bytes = b"[1]", path: str = "/v1/predict", *headers: str) -> Client:
        client = self.client()
        client.post(path, body, "routing-key: predict.now", "RqUID: r1", *headers)
        self.pump()
        return client

    def predict(self, *headers: str, body: bytes = b"[1]") -> Client:
        return self.post(body, "/v1/predict", *headers)

    def send(self, method: str, path: str, *headers: str) -> Client:
        client = self.client()
        client.request(method, path, b"", *headers)
        self.pump()
        return client

    def get(self, path: str, *headers: str, method: str = "GET") -> Response:
        return self.send(method, path, *headers).response()

    def accepted(self, client: Client) -> str:
        """Check a 202, and return its ``Location``."""
        self.pump()
        got = client.response()
        document = json.loads(got.body)
        self.assertEqual((got.status, document["status"]), (202, "pending"), got)
        self.assertEqual(got.headers["location"], document["links"]["self"])
        self.assertIn(int(got.headers["retry-after"]), range(1, 31))
        return got.headers["location"]

    def problem(self, got: Response) -> tuple[int, str]:
        return got.status, got.problem["type"].rpartition(":")[2]

    def in_flight(self) -> float:
        return counted(self.metrics.http_in_flight)

    def status(self, location: str) -> str:
        status: str = json.loads(self.get(location).body)["status"]
        return status


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


class FetchTests(KeptTestCase):
    """``/v1/requests`` and what is below it."""

    def test_long_poll(self) -> None:
        """A long-poll is answered when the answer comes; at its end with 202. It counts as in flight until then."""
        location = self.accepted(self.predict(ASYNC))
        first = self.send("GET", f"{location}/result", "Prefer: wait=5")
        second = self.send("GET", f"{location}/result", "Prefer: wait=50")
        third = self.send("GET", f"{location}/result", "Prefer: wait=50")
        self.assertEqual(self.in_flight(), 3)
        self.advance(5)
        self.accepted(first)
        self.assertEqual(first.response().headers["retry-after"], "1")
        third.leave()
        self.assertEqual(self.in_flight(), 1)
        self.answer(200, b"42")
        self.assertEqual((second.response().status, second.response().body), (200, b"42"))
        self.assertEqual(self.in_flight(), 0)

    def test_drain(self) -> None:
        """A drain ends long-polls and ``wait=N`` with 202."""
        location = self.accepted(self.predict(ASYNC))
        waiting = [self.send("GET", f"{location}/result", "Prefer: wait=50"), self.predict("Prefer: wait=50")]
        self.service.stopService()
        self.pump()
        for client in waiting:
            self.accepted(client)

    def test_erase(self) -> None:
        """A pending request is canceled, and then erased; its result is 410 and then 404."""
        location = self.accepted(self.predict(ASYNC))
        waiting = self.send("GET", f"{location}/result", "Prefer: wait=50")
        got = self.get(location, method="DELETE")
        self.assertEqual((got.status, got.body), (204, b""))
        for got in (waiting.response(), self.get(f"{location}/result")):
            self.assertEqual(self.problem(got), (410, "request-canceled"))
        self.assertEqual(self.status(location), "canceled")
        self.assertEqual(self.get(location, method="DELETE").status, 204)
        for method, path in (("GET", location), ("GET", f"{location}/result"), ("DELETE", location)):
            self.assertEqual(self.problem(self.get(path, method=method)), (404, "not-found"))

    def test_erased_while_served(self) -> None:
        """What was canceled and then erased stays unknown, though the model's answer comes after that."""
        location = self.accepted(self.predict(ASYNC))
        for _ in range(2):
            self.assertEqual(self.get(location, method="DELETE").status, 204)
        self.answer()
        for path in (location, f"{location}/result"):
            self.assertEqual(self.problem(self.get(path)), (404, "not-found"))

    def test_times(self) -> None:
        """The times in the 202 are those that the store gives back, to the millisecond."""
        for microseconds in (400, 600, 1_500, 29_999, 999_499, 999_600):
            self.ahead = 1_795_000_000 + microseconds / 1e6
            client = self.predict(ASYNC)
            document = json.loads(client.response().body)
            (record,) = [each for each in self.store.records.values() if each.id == document["id"]]
            stored = record_of(record_row(record))
            self.assertEqual(document, status_document(stored))

    def test_gone(self) -> None:
        """Past its time a request is 410."""
        location = self.accepted(self.predict(ASYNC))
        self.answer()
        self.ahead += 86_401
        for path in (location, f"{location}/result"):
            self.assertEqual(self.problem(self.get(path)), (410, "request-gone"))

    def test_no_id(self) -> None:
        """What is no id of ours is 404, and the store is not asked."""
        id_ = self.accepted(self.predict(ASYNC)).rpartition("/")[2]
        self.store.calls.clear()
        for odd in (
            "0", id_.upper().replace("0", "F"), id_[:-1], f"{id_}0", f"{id_}%00", f"{id_}%0a", "%2e%2e", "..",
            "a" * 10_000,
            "%ef%bc%91" * 32, f"%20{id_}", f"{id_};a", "%27%20or%201=1", "-" * 32, f"{id_[:8]}-{id_[8:]}",
        ):  # fmt: skip
            for method, end in (("GET", ""), ("GET", "/result"), ("DELETE", ""), ("HEAD", "")):
                got = self.send(method, f"/v1/requests/{odd}{end}").responses()[0]
                self.assertEqual(got.status, 404, (method, odd, end))
        for path in (f"/v1/requests/{id_}/", f"/v1/requests//{id_}", f"/v1/requests/{id_}/results", "/v1/requests/"):
            self.assertEqual(self.problem(self.get(path)), (404, "not-found"), path)
        self.assertNotIn("get", self.store.calls)
        self.assertEqual(self.get(f"/v1/requests/{id_}?x=1").status, 200)
        self.assertEqual(self.problem(self.get("/v1/requests/%ff")), (400, "bad-request"))

    def test_methods(self) -> None:
        """Other methods are 405; OPTIONS lists the methods; HEAD is GET without a body."""
        location = self.accepted(self.predict(ASYNC))
        for path, allowed in (
            ("/v1/requests", {"GET", "HEAD", "OPTIONS"}), (location, {"DELETE", "GET", "HEAD", "OPTIONS"}),
            (f"{location}/result", {"GET", "HEAD", "OPTIONS"}),
        ):  # fmt: skip
            for method, status in (("PUT", 405), ("OPTIONS", 204)):
                got = self.get(path, method=method)
                self.assertEqual((got.status, set(got.headers["allow"].split(", "))), (status, allowed))
        got, head = self.get(location), self.send("HEAD", location)
        self.assertTrue(head.value().endswith(b"\r\n\r\n"))
        self.assertIn(b"\r\nContent-Length: %d\r\n" % len(got.body), head.value())

    def test_metrics(self) -> None:
        """Paths with an id count for their routes, whatever the id."""
        location = self.accepted(self.predict(ASYNC))
        self.get(location)
        self.get(f"{location}/result")
        self.get(f"/v1/requests/{'0' * 32}")
        self.get("/v1/requests/nothing")
        self.get(location, method="DELETE")
        series = [
            (*(sample.labels[name] for name in ("route", "method", "code")), sample.value)
            for family in self.metrics.http_requests.collect()
            for sample in family.samples
            if sample.name.endswith("_total") and sample.labels["route"] != "/v1/predict"
        ]
        self.assertEqual(
            sorted(series),
            [
                ("/v1/requests/{id}", "DELETE", "204", 1), ("/v1/requests/{id}", "GET", "200", 1),
                ("/v1/requests/{id}", "GET", "404", 1), ("/v1/requests/{id}/result", "GET", "202", 1),
                ("other", "GET", "404", 1),
            ],
        )  # fmt: skip

    def test_codings(self) -> None:
        """A stored result with a content coding is checked against ``Accept-Encoding`` as a reply is."""
        location = self.accepted(self.predict(ASYNC))
        id_ = location.rpartition("/")[2]
        self.answer()
        result: Any = self.store.results[id_]
        self.store.results[id_] = type(result)(
            status=200, body=b"x", content_type="text/plain", content_encoding="gzip"
        )
        got = self.get(f"{location}/result")
        self.assertEqual((got.headers["content-encoding"], got.body), ("gzip", b"x"))
        got = self.get(f"{location}/result", "Accept-Encoding: identity")
        self.assertEqual(self.problem(got), (502, "model-failed"))
        for status in (204, 304):
            self.store.results[id_] = type(result)(status=status, body=b"x")
            got = self.get(f"{location}/result")
            self.assertEqual((got.status, got.body, got.headers.get("content-length")), (status, b"", None))


class OwnerTests(KeptTestCase):
    """Callers with certificates."""

    def be(self, *names: str) -> None:
        self.identity = Identity(names, 9e9)

    def test_others(self) -> None:
        """To another identity, a request looks like one that never was; only who sent it can erase it."""
        self.be("a.example")
        location = self.accepted(self.predict(ASYNC))
        unknown = location[:-32] + "0" * 32
        self.answer()
        for names in (("b.example",), (), ("b.example", "a.example"), ("A.EXAMPLE",)):
            self.be(*names)
            for method in ("GET", "DELETE"):
                for end in ("", "/result") if method == "GET" else ("",):
                    found = [self.get(each + end, "RqUID: r", method=method) for each in (location, unknown)]
                    bodies = [each.body.replace(b"0" * 32, location[-32:].encode()) for each in found]
                    self.assertEqual(([404, 404], bodies[0]), ([each.status for each in found], bodies[1]))
                    self.assertEqual(found[0].headers, found[1].headers)
        self.be("a.example", "other")
        self.assertEqual(self.get(f"{location}/result").status, 200)

    def test_list(self) -> None:
        """The list has the caller's own, the newest first, in pages; a caller without a name has none."""
        for names in (("b.example",), ("a.example",), ("a.example",), ("a.example",), ()):
            self.be(*names)
            self.accepted(self.predict(ASYNC))
            self.advance(1)
        self.assertEqual(self.problem(self.get("/v1/requests")), (403, "forbidden"))
        self.be("a.example")
        whole = json.loads(self.get("/v1/requests").body)
        created = [each["created"] for each in whole["requests"]]
        self.assertEqual((len(created), created, whole["next"]), (3, sorted(created, reverse=True), None))
        pages, path = [], "/v1/requests?limit=2&status=pending"
        while path:
            page = json.loads(self.get(path).body)
            pages.append(page["requests"])
            path = page["next"]
        self.assertEqual([len(each) for each in pages], [2, 1])
        self.assertEqual([each for page in pages for each in page], whole["requests"])
        self.assertEqual(json.loads(self.get("/v1/requests?status=failed").body), {"requests": [], "next": None})
        self.be("c.example")
        self.assertEqual(json.loads(self.get("/v1/requests").body)["requests"], [])

    def test_next_after_an_erased_one(self) -> None:
        """A list goes on where it was, though the request that ``next`` names was erased; not after an unknown one."""
        self.be("a.example")
        locations = [self.accepted(self.predict(ASYNC))]
        for _ in range(3):
            self.advance(1)
            locations.append(self.accepted(self.predict(ASYNC)))
        page = json.loads(self.get("/v1/requests?limit=2").body)
        for _ in range(2):
            self.assertEqual(self.get(locations[2], method="DELETE").status, 204)
        rest = json.loads(self.get(page["next"]).body)
        self.assertEqual([each["links"]["self"] for each in rest["requests"]], locations[1::-1])
        for names in (("a.example",), ("b.example",)):
            self.be(*names)
            for after in ("0" * 32, locations[0][-32:]) if names == ("b.example",) else ("0" * 32,):
                got = self.get(f"/v1/requests?after={after}")
                self.assertEqual(self.problem(got), (400, "bad-request"))

    def test_query(self) -> None:
        """Wrong parameters are 400; those that we do not know are ignored."""
        self.be("a.example")
        for query in (
            "status=done", "status=", "limit=0", "limit=101", "limit=-1", "limit=1.5", "limit=", "limit=%d9%a1",
            "after=x",
            "after=", "limit=1&limit=2", "status=erased", "after=&after=",
            "status=%ff", "&".join(["a=1"] * 21), "after=" + "g" * 32,
        ):  # fmt: skip
            self.assertEqual(self.problem(self.get(f"/v1/requests?{query}")), (400, "bad-request"), query)
        for query in ("", "limit=100", "x=1&y", "&&", "x=1&x=2", "status=parked", "%00=%00"):
            self.assertEqual(self.get(f"/v1/requests?{query}").status, 200, query)


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
