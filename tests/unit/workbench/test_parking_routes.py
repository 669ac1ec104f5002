"""The routes below ``/v1/parking``, over parking queues in memory."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import quote

from twisted.internet.defer import Deferred

from provider_gateway.errors import BrokerUnavailable
from provider_gateway.parking.errors import CountChanged, ParkingBusy
from provider_gateway.parking.operators import Operator
from tests.support.observability import counted
from tests.unit.workbench.base import WorkbenchTestCase
from tests.unit.workbench.fake_parking import NOW, QUEUES, message

FIB = "/v1/parking/fib"
ID = f"{1:032x}"


class ListTests(WorkbenchTestCase):
    """Lists of queues and messages."""

    def test_queues(self) -> None:
        """Every queue on which the caller has a right is listed, with the number of its messages and the rights."""
        queues = self.document(self.ask("/v1/parking"))["queues"]
        self.assertEqual([each["queue"] for each in queues], list(QUEUES))
        self.assertEqual(
            queues[0],
            {
                "queue": "fib",
                "parking": "fib.parking",
                "messages": 3,
                "rights": ["read", "replay", "drop"],
                "max_replays": 3,
                "operator": None,
                "links": {"messages": FIB},
            },
        )
        for who, expected in (("reader", {"fib": ["read"]}), ("dropper", {"fib": ["drop"], "other": ["drop"]})):
            queues = self.document(self.ask("/v1/parking", who=who))["queues"]
            self.assertEqual({each["queue"]: each["rights"] for each in queues}, expected)

    def test_who_is_at_it(self) -> None:
        """A queue that somebody is at says who, from where, what they do and since when."""
        self.parking.start_elsewhere("fib", action="look")
        queue = self.document(self.ask("/v1/parking"))["queues"][0]
        since = "2027-01-15T08:00:00.000Z"
        self.assertEqual(queue["operator"], {"who": "bob", "from": "10.0.0.1", "action": "look", "since": since})

    def test_messages(self) -> None:
        """A list has the counts, the groups by reason, and the messages with headers and a preview."""
        found = self.document(self.ask(f"{FIB}?limit=2&reason=status&reason=timeout"))
        self.assertEqual((found["total"], found["looked_at"], found["matching"]), (3, 3, 3))
        self.assertEqual(
            found["groups"],
            [{"reason": "status", "count": 3, "oldest": "2027-01-15T07:58:20.000Z", "newest": None, "bytes": 6}],
        )
        first = found["messages"][0]
        self.assertEqual((first["headers"], first["preview"]), ({"X-Secret": "s3cret"}, {"text": "{}"}))
        self.assertEqual([each["position"] for each in found["messages"]], [0, 1])
        self.assertEqual(found["next"], f"{FIB}?reason=status&reason=timeout&limit=2&after=1")
        last = self.document(self.ask(found["next"]))
        self.assertEqual(([each["position"] for each in last["messages"]], last["next"]), ([2], None))

    def test_filter(self) -> None:
        """Every condition is a parameter of the query; the engine gets it as a filter."""
        query = f"id={ID}&rquid=r%2B1&identity=a%26b&since=2h&older_than=2027-01-15T07:00:00Z&grep=%C3%BC%2B"
        self.document(self.ask(f"{FIB}?{query}"))
        ((queue, filter_, limit, after),) = self.parking.looks
        self.assertEqual((queue, limit, after), ("fib", 100, -1))
        self.assertEqual(
            filter_.document(),
            {"ids": [ID], "rquid": "r+1", "identity": "a&b", "since": NOW - 7200, "before": NOW - 3600, "grep": "ü+"},
        )

    def test_refused_queries(self) -> None:
        """A parameter that is unknown, empty, malformed or stands twice is 400, and nothing is looked at."""
        for query in (
            "resaon=status", "reason=", "grep=", "rquid=a&rquid=b", "limit=0", "limit=1001", "limit=1e2",
            "limit=%D9%A3",
            "after=-1", "after=x", "since=yesterday", "id=x", "grep=(", "grep=" + "a" * 1001, "grep=a%ff", "reason",
            "&&", "limit=" + "9" * 5000, "&".join(f"reason={number}" for number in range(201)), "before=2h", "ids=x",
        ):  # fmt: skip
            detail = self.assert_problem(self.ask(f"{FIB}?{query}"), 400, "bad-request")
            self.assertTrue(detail)
        self.assertEqual(self.parking.looks, [])

    def test_names_of_queues(self) -> None:
        """A queue's name is one segment of the path, percent-encoded, whatever is in it; links have it so."""
        for queue in QUEUES:
            (link,) = (
                each["links"]["messages"]
                for each in self.document(self.ask("/v1/parking"))["queues"]
                if each["queue"] == queue
            )
            self.assertEqual(self.document(self.ask(link))["queue"], queue)
        self.document(self.ask("/v1/parking/" + quote(QUEUES[2], safe="").lower()))
        self.assertEqual(self.document(self.ask("/v1/parking/jobs")), {"jobs": []})

    def test_unknown_paths(self) -> None:
        """A queue that there is not, and paths that are no routes, are 404; other methods are 405."""
        for path in (
            "/v1/parking/nope", "/v1/parking/%00", "/v1/parking/..", "/v1/parking/", "/v1/parking//fib",
            f"{FIB}/", f"{FIB}/xyz", f"{FIB}/{ID}/", f"{FIB}/{ID}/head", f"{FIB}/{'f' * 32}", f"{FIB}/{ID.upper()}A",
            "/v1/parking/jobs/xyz", f"/v1/parking/jobs/{ID}", "/v1/parking/fib%2F", "/v1/parking/%2e%2e",
            "/v1/parking/a/b",
        ):  # fmt: skip
            self.assert_problem(self.ask(path), 404, "not-found")
        for method, path in (("POST", FIB), ("DELETE", FIB), ("PUT", f"{FIB}/replay"), ("OPTIONS", FIB)):
            self.assert_problem(self.ask(path, method=method), 405, "method-not-allowed")

    def test_large_lists(self) -> None:
        """A list ends before it gets huge, and says how to go on: no message is left out, and each page has one."""
        big = {"X": "x" * 5_000_000}
        self.parking.messages = [(message(number, headers=big), b"{}") for number in range(4)]
        path, seen = FIB, []
        while path:
            response = self.ask(path)
            self.assertLess(len(response.body), 16_000_000)
            found = self.document(response)
            self.assertTrue(found["messages"])
            seen += [each["position"] for each in found["messages"]]
            path = found["next"]
        self.assertEqual(seen, [0, 1, 2, 3])

    def test_hostile_message(self) -> None:
        """Whatever a message says, the list is JSON: headers of all kinds, deep ones, texts that are no Unicode."""
        deep: Any = "end"
        for _ in range(200):
            deep = {"x": [deep]}
        headers = {
            "</script>": b"\xff\x00",
            "date": datetime(2027, 1, 1, tzinfo=UTC),
            "nan": float("nan"),
            "decimal": Decimal("1.5"),
            "deep": deep,
            "large": 2**63,
            "surrogate": "\ud800",
            "text": b"utf-8 \xc3\xbc",
        }
        self.parking.messages = [
            (
                message(0, headers=headers, parked_at=1e300, reason="\ud800<b>", head=b"ab\xc3", size=9),
                b"ab\xc3\xbc12345",
            )
        ]
        (found,) = self.document(self.ask(FIB))["messages"]
        self.assertEqual(found["headers"]["</script>"], {"base64": "/wA="})
        self.assertEqual(found["headers"]["text"], {"text": "utf-8 ü"})
        self.assertEqual((found["headers"]["nan"], found["headers"]["decimal"]), ("nan", "1.5"))
        self.assertEqual((found["reason"], found["parked_at"], found["preview"]), ("\\ud800<b>", None, {"text": "ab"}))


class MessageTests(WorkbenchTestCase):
    """One message, and its body."""

    def test_whole(self) -> None:
        """A message in full has all that is known, and its body as text. It has a line in the audit log."""
        found = self.document(self.ask(f"{FIB}/{ID}"))
        self.assertEqual((found["id"], found["queue"], found["model_error"]), (ID, "fib", "boom"))
        self.assertEqual((found["body"], found["truncated"]), ({"text": "{}"}, False))
        self.assertEqual(found["links"], {"body": f"{FIB}/{ID}/body"})
        self.assertEqual([(each["event"], each["id"]) for each in self.audited], [("shown", ID)])

    def test_large_body(self) -> None:
        """1 MiB of a body is in the document; the whole one can be fetched."""
        body = "ü".encode() * 600_000 + b"x"
        self.parking.messages = [(message(1, size=len(body)), body)]
        found = self.document(self.ask(f"{FIB}/{ID}"))
        self.assertEqual((found["body"]["text"], found["truncated"]), ("ü" * 524_288, True))
        self.assertEqual(self.ask(f"{FIB}/{ID}/body").body, body)

    def test_binary_body(self) -> None:
        """A body that is not UTF-8 is base64."""
        self.parking.messages = [(message(1), b"\xff\xfe")]
        self.assertEqual(self.document(self.ask(f"{FIB}/{ID}"))["body"], {"base64": "//4="})

    def test_body(self) -> None:
        """The bytes of a body are a file to a browser, whatever type the message claims; images are shown as such."""
        for body, claimed, expected in (
            (b"<script>alert(1)</script>", "text/html", "application/octet-stream"),
            (b"<svg onload=alert(1)>", "image/svg+xml", "application/octet-stream"),
            (b"\x89PNG\r\n\x1a\nrest", "text/html", "image/png"),
            (b"\xff\xd8\xff\xe0", None, "image/jpeg"),
            (b"", None, "application/octet-stream"),
        ):
            self.parking.messages = [(message(1, content_type=claimed), body)]
            found = self.ask(f"{FIB}/{ID}/body")
            self.assertEqual((found.status, found.headers["content-type"], found.body), (200, expected, body))
            self.assertEqual(found.headers["content-disposition"], f'attachment; filename="{ID}"')
            self.assertEqual(found.headers["x-content-type-options"], "nosniff")
            self.assertEqual(found.headers["content-security-policy"], "default-src 'none'; sandbox")
            self.assertEqual(found.headers["cache-control"], "no-store")

    def test_audit_log_is_full(self) -> None:
        """Nothing is shown without its line in the audit log."""
        self.audit_error = OSError(28, "No space left on device")
        for path in (f"{FIB}/{ID}", f"{FIB}/{ID}/body"):
            self.assert_problem(self.ask(path), 503, "audit-log-unwritable")


class JobTests(WorkbenchTestCase):
    """Jobs: started, followed, canceled."""

    def test_replay(self) -> None:
        """A job is accepted with its document and where to ask for it, and the engine gets what was asked for."""
        body = {
            "filter": {"reason": "status", "older_than": "1h", "limit": 5},
            "rate": 2.5,
            "force": True,
            "why": "fixed",
        }
        client = self.send(f"{FIB}/replay", body)
        self.assertEqual(client.responses(), [])
        (job,) = self.parking.jobs.values()
        job.become(state="running", total=2)
        response = client.response()
        document = self.document(response, 202)
        self.assertEqual(response.headers["location"], f"/v1/parking/jobs/{job.document.id}")
        self.assertEqual((document["state"], document["total"], document["operator"]), ("running", 2, "ann"))
        self.assertEqual(document["filter"]["before"], "2027-01-15T07:00:00.000Z")
        (wanted,) = self.parking.requests
        self.assertEqual((wanted.action, wanted.queue, wanted.rate, wanted.force), ("replay", "fib", 2.5, True))
        self.assertEqual((wanted.why, wanted.dry_run, wanted.expected_count), ("fixed", False, None))
        self.assertEqual(wanted.filter.document(), {"reasons": ["status"], "before": NOW - 3600, "limit": 5})
        job.become(state="done", done=2, finished=NOW + 1)
        found = self.document(self.ask(response.headers["location"]))
        self.assertEqual((found["state"], found["done"], found["finished"]), ("done", 2, "2027-01-15T08:00:01.000Z"))
        self.assertEqual(
            [each["id"] for each in self.document(self.ask("/v1/parking/jobs"))["jobs"]], [job.document.id]
        )

    def test_long_count(self) -> None:
        """A job that counts for long is followed by its document; one whose count is checked is waited for."""
        client = self.send(f"{FIB}/replay", {"all": True})
        checked = self.send("/v1/parking/other/replay", {"all": True, "expected_count": 3})
        self.clock.advance(2)
        self.assertEqual(self.document(client.response(), 202)["state"], "counting")
        self.assertEqual(checked.responses(), [])
        list(self.parking.jobs.values())[1].fail(CountChanged.of(3, 4))
        self.assert_problem(checked.response(), 409, "count-changed")
        self.assertEqual((checked.response().problem["expected"], checked.response().problem["found"]), (3, 4))

    def test_refused_before_it_begins(self) -> None:
        """What is wrong with a job before it acts is the response: somebody else is at the queue."""
        client = self.send(f"{FIB}/drop", {"ids": [ID]})
        (job,) = self.parking.jobs.values()
        job.fail(ParkingBusy("bob has been looking since 8:00."))
        self.assertIn("bob", self.assert_problem(client.response(), 409, "parking-busy"))

    def test_client_leaves(self) -> None:
        """If the client leaves before it knows the job, the job ends."""
        client = self.send(f"{FIB}/replay", {"all": True})
        client.leave()
        (job,) = self.parking.jobs.values()
        self.assertTrue(job.is_canceled)

    def test_drop_needs_a_count(self) -> None:
        """Dropping by a filter, or all, needs the number that the operator saw; by ids, or in a dry run, not."""
        for body in ({"all": True}, {"filter": {"reason": "status"}}):
            self.assert_problem(self.post(f"{FIB}/drop", body), 428, "count-needed")
        self.assertEqual(self.parking.requests, [])
        for body in ({"all": True, "expected_count": 0}, {"all": True, "dry_run": True}, {"ids": [ID]}):
            self.send(f"{FIB}/drop", body)
        self.assertEqual([each.expected_count for each in self.parking.requests], [0, None, None])

    def test_refused_bodies(self) -> None:
        """A body that does not say exactly what is meant is 400, and no job begins."""
        deep = b'{"filter": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
        for body in (
            {}, {"all": False}, {"all": None}, {"all": 1}, {"ids": []}, {"ids": None}, {"ids": ["x"]}, {"ids": ID},
            {"ids": [None]}, {"filter": {}}, {"filter": None}, {"filter": {"reason": None}}, {"filter": {"reason": []}},
            {"filter": {"reason": ""}}, {"filter": {"resaon": "x"}}, {"filter": {"reason": "x", "olderThan": "2h"}},
            {"filter": {"id": []}}, {"filter": {"grep": "("}},
            {"filter": {"grep": ""}}, {"filter": {"limit": 0}}, {"filter": {"limit": "5"}}, {"filter": {"since": 5}},
            {"ids": [ID], "all": True}, {"filter": {"reason": "x"}, "all": True}, {"all": True, "rate": 0},
            {"all": True, "rate": -1}, {"all": True, "rate": "1"}, {"all": True, "expected_count": -1},
            {"all": True, "expected_count": 1.5}, {"all": True, "force": "no"}, {"all": True, "dry-run": True},
            {"all": True, "why": "x" * 1001}, {"all": True, "expectedCount": 3}, [], "all", None,
            {"filter": {"reason": ["x"] * 101}}, {"ids": [ID] * 20_001},
            b"", b"{", b'{"all": true} x', b'{"all": NaN}', b"\xff", b'{"why": "\\ud800", "all": tru}', deep,
        ):  # fmt: skip
            self.assert_problem(self.post(f"{FIB}/replay", body), 400, "bad-request")
        self.assert_problem(self.post(f"{FIB}/replay?all=true", {"all": True}), 400, "bad-request")
        self.assert_problem(self.post(f"{FIB}/drop", {"ids": [ID], "force": True}), 400, "bad-request")
        self.assert_problem(self.post(f"{FIB}/replay", b" " * 1_048_577), 413, "body-too-large")
        self.assertEqual(self.parking.requests, [])

    def test_cancel(self) -> None:
        """A job is canceled by DELETE; one that is over stays as it is."""
        self.send(f"{FIB}/replay", {"all": True})
        (job,) = self.parking.jobs.values()
        job.become(state="running")
        path = f"/v1/parking/jobs/{job.document.id}"
        self.document(self.ask(path, method="DELETE"), 202)
        self.assertTrue(job.is_canceled)
        job.become(state="canceled", finished=NOW)
        self.assertEqual(self.document(self.ask(path, method="DELETE"))["state"], "canceled")

    def test_jobs_of_other_processes(self) -> None:
        """A job that another worker runs is listed, shown and canceled, too; a look is no job."""
        replay = self.parking.start_elsewhere("fib", action="replay")
        look = self.parking.start_elsewhere("other", action="look")
        self.assertEqual([each["id"] for each in self.document(self.ask("/v1/parking/jobs"))["jobs"]], [replay.id])
        self.assertEqual(self.document(self.ask(f"/v1/parking/jobs/{replay.id}"))["process"], "gateway-2")
        self.document(self.ask(f"/v1/parking/jobs/{replay.id}", method="DELETE"), 202)
        self.assert_problem(self.ask(f"/v1/parking/jobs/{look.id}"), 404, "not-found")
        self.parking.error = BrokerUnavailable("away")
        self.assertEqual(self.document(self.ask("/v1/parking/jobs")), {"jobs": []})

    def test_counted(self) -> None:
        """What becomes of messages is counted by queue and action, each message once; a dry run counts nothing."""
        self.send(f"{FIB}/replay", {"all": True})
        self.send(f"{FIB}/replay", {"all": True, "dry_run": True})
        job, dry = self.parking.jobs.values()
        job.become(state="running", total=5, done=2)
        job.become(done=3, skipped=1)
        job.become(state="done", done=3, skipped=1, failed=1)
        dry.become(state="done", done=5)
        for outcome, expected in (("done", 3), ("skipped", 1), ("failed", 1), ("missing", 0)):
            self.assertEqual(counted(self.metrics.parking_messages, "fib", "replay", outcome), expected, outcome)


class LoadTests(WorkbenchTestCase):
    """Many requests, and the end of the process."""

    def test_many_looks(self) -> None:
        """Four looks run at a time and sixteen wait; more are 503. Clients that leave make room."""
        self.parking.waiting = []
        clients = [self.client() for _ in range(21)]
        for client in clients:
            client.request("GET", FIB)
        self.assertEqual(len(self.parking.looks), 4)
        self.assertEqual(clients[20].response().status, 503)
        for client in clients[1:20]:
            client.leave()
        late = self.client()
        late.request("GET", FIB)
        for each in self.parking.waiting:
            if not each.called:
                each.callback(None)
        while not late.responses():
            self.parking.waiting[-1].callback(None)
        self.assertEqual((clients[0].response().status, late.response().status), (200, 200))
        self.assertEqual(self.admission.in_flight, 0)

    def test_jobs_do_not_wait(self) -> None:
        """However many looks wait, a job of this process is shown, and canceled."""
        self.send(f"{FIB}/replay", {"all": True})
        (job,) = self.parking.jobs.values()
        job.become(state="running")
        self.parking.waiting = []
        looking = [self.client() for _ in range(20)]
        for client in looking:
            client.request("GET", FIB)
        path = f"/v1/parking/jobs/{job.document.id}"
        self.assertEqual(self.document(self.ask(path))["state"], "running")
        self.document(self.ask(path, method="DELETE"), 202)
        self.assertTrue(job.is_canceled)
        for client in reversed(looking):  # those that wait first: no look is left to begin
            client.leave()

    def test_broker_is_away(self) -> None:
        """Without the broker, lists and jobs are 503."""
        self.parking.error = BrokerUnavailable("The broker is away.")
        for response in (self.ask("/v1/parking"), self.ask(FIB), self.post(f"{FIB}/replay", {"all": True})):
            self.assert_problem(response, 503, "broker-unavailable")

    def test_drain(self) -> None:
        """A process that stops ends its jobs, and takes no more requests."""
        self.workbench.drain()
        self.admission.drain()
        self.successResultOf(Deferred.fromCoroutine(self.workbench.close()))
        self.assertEqual(self.parking.stopped, 1)
        self.assert_problem(self.post(f"{FIB}/replay", {"all": True}), 503, "draining")

    def test_access_log(self) -> None:
        """A request has an id; it is finished and counted as every other."""
        response = self.ask(FIB, "RqUID: r-7")
        self.assertEqual((response.headers["rquid"], len(self.finished)), ("r-7", 1))

    def test_operator_of_a_guard(self) -> None:
        """A guard before the routes may say who asks; then no certificate is needed."""
        beside = self.workbench.resource_for

        def guarded(request: Any) -> Any:
            request.operator = Operator("demo", "127.0.0.1")
            return beside(request)

        self.site.resource._beside = guarded
        self.assertEqual(self.document(self.ask(FIB, who=None))["matching"], 3)
