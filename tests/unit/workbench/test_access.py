"""Who may do what with parked messages, from where, and what is not there for whom."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address

from provider_gateway.parking.operators import Operator
from provider_gateway.security.identity import Identity
from provider_gateway.workbench.access import Access
from tests.unit.workbench.base import WorkbenchTestCase
from tests.unit.workbench.fake_parking import NOW, message

FIB, OTHER = "/v1/parking/fib", "/v1/parking/other"
ID = f"{1:032x}"
SECRETS = (b"s3cret", b"boom", b"predict.now", b"caller", b"r1", b"application/json")


class RightsTests(WorkbenchTestCase):
    """The matrix of rights, actions and queues."""

    def status(self, who: str, action: str, queue: str) -> int:
        """The status of one action."""
        path = f"/v1/parking/{queue}"
        if action in ("replay", "drop"):
            client = self.send(f"{path}/{action}", {"ids": [ID]}, who=who)
            if not client.responses():
                list(self.parking.jobs.values())[-1].become(state="running")
            return client.response().status
        return self.ask({"list": path, "show": f"{path}/{ID}", "body": f"{path}/{ID}/body"}[action], who=who).status

    def test_matrix(self) -> None:
        """Each right allows its action, on its queues alone. Where somebody has no right at all, nothing is there."""
        nothing = {"list": 404, "show": 404, "body": 404, "replay": 404, "drop": 404}
        stranger = dict.fromkeys(nothing, 403)
        for who, queue, expected in (
            ("ann", "fib", {"list": 200, "show": 200, "body": 200, "replay": 202, "drop": 202}),
            ("ann", "other", {"list": 200, "show": 200, "body": 200, "replay": 202, "drop": 202}),
            ("reader", "fib", {"list": 200, "show": 200, "body": 200, "replay": 403, "drop": 403}),
            ("replayer", "fib", {"list": 200, "show": 403, "body": 403, "replay": 202, "drop": 403}),
            ("dropper", "fib", {"list": 200, "show": 403, "body": 403, "replay": 403, "drop": 202}),
            ("dropper", "other", {"list": 200, "show": 403, "body": 403, "replay": 403, "drop": 202}),
            ("reader", "other", nothing),
            ("replayer", "other", nothing),
            ("ann", "nope", nothing),
            ("caller", "fib", stranger),
            ("nobody", "fib", stranger),
        ):
            found = {action: self.status(who, action, queue) for action in expected}
            self.assertEqual(found, expected, (who, queue))

    def test_documented(self) -> None:
        """What the documentation is told of a caller is the same: rights on the queues that there are, by queue."""

        class Request:
            operator = None

            def __init__(self, name: str) -> None:
                self.identity = Identity((name,), 2e9)

            def getClientAddress(self) -> Any:  # noqa: N802 - twisted.web's name
                return IPv4Address("TCP", "127.0.0.1", 1)

        for who, expected in (
            ("ann", dict.fromkeys(self.parking.places, ("read", "replay", "drop"))),
            ("reader", {"fib": ("read",)}),
            ("dropper", {"fib": ("drop",), "other": ("drop",)}),
            ("caller", {}),
            ("nobody", {}),
        ):
            self.assertEqual(dict(self.access.all_rights(Request(who))), expected, who)
        demo, nobody = Request("demo"), Request("nobody")
        demo.operator = Operator("demo", "127.0.0.1")  # type: ignore[assignment]
        nobody.identity = None  # type: ignore[assignment]
        without_file = Access(None, self.parking.places, self.audited.append)
        self.assertEqual(dict(without_file.all_rights(demo)), dict(self.access.all_rights(Request("ann"))))
        self.assertEqual([without_file.all_rights(each) for each in (nobody, Request("ann"))], [(), ()])

    def test_without_read(self) -> None:
        """Without "read", a list has ids, reasons, times, sizes and counts, and nothing that a message says."""
        for who in ("replayer", "dropper"):
            response = self.ask(FIB, who=who)
            (first, *_) = self.document(response)["messages"]
            expected = {"id", "position", "reason", "parked_at", "attempts", "redeliveries", "replays", "size"}
            self.assertEqual(first.keys(), expected)
            for secret in SECRETS:
                self.assertNotIn(secret, response.body)

    def test_search_is_reading(self) -> None:
        """Without "read", nobody can find out by a search what a message says, in a list or by the count of a job."""
        self.assert_problem(self.ask(f"{FIB}?grep=s3", who="replayer"), 403, "forbidden")
        for who, action in (("replayer", "replay"), ("dropper", "drop")):
            body = {"filter": {"grep": "s3"}, "dry_run": True}
            self.assert_problem(self.post(f"{FIB}/{action}", body, who=who), 403, "forbidden")
        self.assertEqual((self.parking.looks, self.parking.requests), ([], []))

    def test_audited(self) -> None:
        """Who tries what they may not has a line in the audit log; a queue that there is not has none."""
        self.ask(f"{FIB}/{ID}", who="replayer")
        self.post(f"{OTHER}/drop", {"ids": [ID]}, who="reader")
        self.ask("/v1/parking/nope")
        found = [(each["event"], each["operator"], each["queue"], each["action"]) for each in self.audited]
        self.assertEqual(found, [("refused", "replayer", "fib", "show"), ("refused", "reader", "other", "drop")])
        self.assertEqual(
            self.audited[0].keys(),
            {"event", "queue", "id", "rquid", "message_id", "operator", "from", "why", "job", "action"},
        )

    def test_jobs_of_others(self) -> None:
        """A job is shown to those with a right on its queue, and canceled by those with the right to do the same."""
        self.send(f"{FIB}/drop", {"ids": [ID]})
        self.send("/v1/parking/a%2Fb%20%25%3F%23%C3%A9/replay", {"all": True})
        dropping, replaying = self.parking.jobs
        for job in self.parking.jobs.values():
            job.become(state="running")
        for who, seen, cancels in (
            ("ann", [replaying, dropping], 202),
            ("reader", [dropping], 403),
            ("replayer", [dropping], 403),
            ("dropper", [dropping], 202),
        ):
            listed = self.document(self.ask("/v1/parking/jobs", who=who))["jobs"]
            self.assertEqual([each["id"] for each in listed], seen, who)
            self.assertEqual(self.ask(f"/v1/parking/jobs/{dropping}", who=who, method="DELETE").status, cancels, who)
            status = self.ask(f"/v1/parking/jobs/{replaying}", who=who).status
            self.assertEqual(status, 200 if who == "ann" else 404, who)
        for path in ("/v1/parking", "/v1/parking/jobs", f"/v1/parking/jobs/{dropping}"):
            self.assert_problem(self.ask(path, who="caller"), 403, "forbidden")

    def test_reload(self) -> None:
        """Rights follow the access file when it is loaded again."""
        self.document(self.ask(FIB, who="reader"))
        self.path.write_text("- {identities: [ann], parking: [read], queues: [fib]}", encoding="utf-8")
        self.access_rules.load()
        self.assert_problem(self.ask(FIB, who="reader"), 403, "forbidden")

    def test_rights_on_unknown_queues(self) -> None:
        """Rights on queues that there are not are none."""
        self.path.write_text("- {identities: [eve], parking: [read], queues: [gone]}", encoding="utf-8")
        self.access_rules.load()
        self.assert_problem(self.ask("/v1/parking", who="eve"), 403, "forbidden")
        self.assert_problem(self.ask("/v1/parking/gone", who="eve"), 403, "forbidden")


class ClosedTests(WorkbenchTestCase):
    """When nobody has a right, nothing is there."""

    rules = "- {identities: ['*'], routingKeys: ['#']}"

    def found(self, path: bytes, who: str | None) -> Any:
        """What serves a path."""

        class Request:
            operator = None
            postpath: tuple[bytes, ...] = ()
            identity = None if who is None else Identity((who,), NOW)

        request: Any = Request()
        request.path = path
        return self.workbench.resource_for(request)

    def test_closed(self) -> None:
        """Without a rule about parking queues, the paths are left to others, which do not know them."""
        for path in (b"/v1/parking", b"/v1/parking/fib", b"/v1/parking/jobs"):
            self.assertIsNone(self.found(path, "ann"))
        self.path.write_text("- {identities: [ann], parking: [read], queues: [fib]}", encoding="utf-8")
        self.access_rules.load()
        for path in (b"/v1/parking", b"/v1/parking/fib"):
            self.assertIsNotNone(self.found(path, "ann"))
            self.assertIsNone(self.found(path, None))
        for path in (b"/v1/parkings", b"/v1/park", b"/", b"/v1/predict", b"/v1/parking%2Ffib", b"/V1/parking"):
            self.assertIsNone(self.found(path, "ann"))


class OriginTests(WorkbenchTestCase):
    """Requests that a page of another origin has a browser send."""

    def test_pages_of_others(self) -> None:
        """A browser that says that another origin's page sends the request is refused, before anything is done."""
        self.parking.messages = [(message(1), b"{}")]
        for headers in (
            ("Origin: https://evil.example",),
            ("Origin: http://gateway:81",),
            ("Origin: null",),
            ("Origin: https://gateway", "Origin: http://gateway"),
            ("Origin: null", "Sec-Fetch-Site: cross-site"),
            ("Sec-Fetch-Site: cross-site",),
            ("Sec-Fetch-Site: same-site",),
            ("Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate"),
            ("Sec-Fetch-Site: same-origin", "Sec-Fetch-Site: cross-site"),
            ("Origin: http://gateway.evil.example",),
            ("Origin: http://gateway@evil.example",),
        ):
            response = self.post(f"{FIB}/replay", {"ids": [ID]}, *headers)
            self.assert_problem(response, 403, "cross-site")
            self.assertNotIn("access-control-allow-origin", response.headers)
            delete = self.ask(f"/v1/parking/jobs/{ID}", *headers, method="DELETE")
            self.assert_problem(delete, 403, "cross-site")
        self.assertEqual(self.parking.jobs, {})

    def test_own_page(self) -> None:
        """A page of the same origin, a form of it that sends no referrer, and other clients may send requests."""
        for headers in (
            ("Origin: http://gateway",),
            ("Origin: http://GATEWAY:80", "Sec-Fetch-Site: same-origin"),
            ("Origin: null", "Sec-Fetch-Site: same-origin"),
            ("Origin: http://gateway:8443", "Host: gateway:8443"),
            ("Sec-Fetch-Site: none",),
            (),
        ):
            self.send(f"{FIB}/replay", {"ids": [ID]}, *headers)
        self.assertEqual(len(self.parking.jobs), 6)

    def test_no_form(self) -> None:
        """A body that a form can send is 415, whatever is in it."""
        for content_type in (
            "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "",
            "application/jsonx", "text/plain; application/json", "application/ld+json",
        ):  # fmt: skip
            response = self.post(f"{FIB}/replay", {"ids": [ID]}, f"Content-Type: {content_type}")
            self.assert_problem(response, 415, "unsupported-media-type")
        twice = self.post(f"{FIB}/replay", {"ids": [ID]}, "Content-Type: text/plain", "Content-Type: application/json")
        self.assertIn(twice.status, (400, 415))
        self.send(f"{FIB}/replay", {"ids": [ID]}, "Content-Type: Application/JSON; charset=utf-8")
        self.assertEqual(len(self.parking.requests), 1)

    def test_reading(self) -> None:
        """A page of another origin cannot have a look made; a link may lead here."""
        for headers, status in (
            (("Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors"), 403),
            (("Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: cors", "Origin: https://evil.example"), 403),
            (("Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate"), 200),
            (("Sec-Fetch-Site: same-origin", "Sec-Fetch-Mode: cors"), 200),
        ):
            response = self.ask(FIB, *headers)
            self.assertEqual(response.status, status, headers)
            self.assertNotIn("access-control-allow-origin", response.headers)
            self.assertEqual(response.headers["cross-origin-resource-policy"], "same-origin")
