"""Whose a request is, from bytes to bytes: other identities do not see it, and the list has the caller's own."""

from __future__ import annotations

import json

from provider_gateway.security.identity import Identity
from tests.unit.app.base import ASYNC, KeptTestCase


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
