"""What is below ``/v1/requests``, from bytes to bytes: status, result, long-poll and deletion."""

from __future__ import annotations

import json
from typing import Any

from provider_gateway.gateway.status_document import status_document
from provider_gateway.store.columns import record_of, record_row
from tests.unit.app.base import ASYNC, KeptTestCase


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
