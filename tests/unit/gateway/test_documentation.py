"""The documentation of the HTTP API: what it says, and to whom."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.config.queue_file import BUILT_IN
from provider_gateway.config.settings import Settings
from provider_gateway.demo.failures import Failures
from provider_gateway.gateway.admission import Admission
from provider_gateway.gateway.api import API
from provider_gateway.gateway.api_document import api_document, api_operations
from provider_gateway.gateway.documentation import Documentation
from provider_gateway.gateway.offer import Offer
from provider_gateway.gateway.origins import Origins
from provider_gateway.observability.metrics import Metrics
from provider_gateway.openapi.document import routes_of
from provider_gateway.security.access_rules import AccessRules
from provider_gateway.security.identity import Identity
from provider_gateway.workbench.access import RIGHTS
from provider_gateway.workbench.pages import Pages
from provider_gateway.workbench.parking_routes import ParkingRoutes
from tests.support.api import APITestCase
from tests.support.http_client import Client, Response
from tests.support.queue_entries import entry

if TYPE_CHECKING:
    from provider_gateway.security.parking_rights import Right

DOCS = Path(__file__).parents[3] / "docs"
FRAUD = entry(
    "fraud",
    bindingKey="fraud.check",
    paths=["/v1/fraud/predict", "/v1/fraud-predict"],
    openInference=True,
    model={"name": "fraud-detector", "url": "https://fraud.internal/x?key=hunter2"},
)
IMAGES = entry("images", bindingKey="images.now", paths="/v1/images", accept=["image/*"], acceptEncoding="gzip")
ENTRIES = [entry("work"), FRAUD, IMAGES]


def offer(**settings: Any) -> Offer:
    """What the settings offer with three entries."""
    return Offer.of(Settings(_env_file=None, rmq_url="amqp://broker/", **settings), ENTRIES)


def document(offered: Offer) -> dict[str, Any]:
    """The document of the API."""
    return api_document(API.routes(), offered)


WITH_STORE = {"result_store": "sqlite:///var/results.db"}
ALL_RIGHTS: tuple[tuple[str, tuple[Right, ...]], ...] = (("work", RIGHTS),)


class DocumentTests(SynchronousTestCase):
    """What the document says."""

    def problem_types(self, made: dict[str, Any]) -> dict[int, set[str]]:
        """The problem types of all responses by status."""
        found: dict[int, set[str]] = {}
        for response in made["components"]["responses"].values():
            for schema in re.findall(r'"enum": (\[[^\]]*\])\}, "status": \{"const": (\d+)', json.dumps(response)):
                found.setdefault(int(schema[1]), set()).update(
                    name.rpartition(":")[2] for name in json.loads(schema[0])
                )
        return found

    def test_every_route(self) -> None:
        """Every route of the API and of parked messages is described, and no other."""
        described = api_operations(replace(offer(**WITH_STORE), parking=ALL_RIGHTS))
        self.assertEqual(set(API.routes()), set(described))
        self.assertEqual([route for route, operation in described.items() if operation is None], [])

    def test_page_routes(self) -> None:
        """Of all routes of the listener, only those of the workbench's page are left out, which are for people."""
        routes = {route for each in (API, ParkingRoutes, Pages, Failures) for route in routes_of(each.app)}
        left_out = {path for _, path in routes - set(api_operations(offer()))}
        self.assertIn("/workbench", left_out)
        self.assertEqual([path for path in left_out if not re.match("/(workbench|demo)(/|$)", path)], [])

    def test_every_application(self) -> None:
        """No module has an application whose routes the tests above do not know, but for those of other listeners."""
        known = {"gateway.open_inference_routes", "workbench.parking_routes", "workbench.pages", "demo.failures"}
        of_other_listeners = {"app.admin", "demo.sample_model"}
        package = DOCS.parent / "provider_gateway"
        found = {
            ".".join(path.relative_to(package).with_suffix("").parts)
            for path in package.rglob("*.py")
            if re.search(r"^ +app = (App|Klein)\(\)", path.read_text(encoding="utf-8"), re.MULTILINE)
        }
        self.assertEqual(found, known | of_other_listeners)

    def test_errors(self) -> None:
        """The document has the problem types that docs/interface.md lists, with their statuses, and no others."""
        found: dict[int, set[str]] = {}
        for made in (
            document(replace(offer(**WITH_STORE), parking=ALL_RIGHTS)),
            document(replace(offer(), has_access_file=True)),
        ):
            for status, types in self.problem_types(made).items():
                found.setdefault(status, set()).update(types)
        text = (DOCS / "interface.md").read_text(encoding="utf-8")
        listed: dict[int, set[str]] = {}
        for statuses, types in re.findall(r"^\| ([0-9]{3}(?:, [0-9]{3})*) \| ((?:`[a-z-]+`(?:, )?)+) \|", text, re.M):
            names = re.findall("`([a-z-]+)`", types)
            numbers = [int(each) for each in statuses.split(", ")]
            for number, name in zip(numbers if len(numbers) > 1 else numbers * len(names), names, strict=True):
                listed.setdefault(number, set()).add(name)
        self.assertEqual({405, *found}, set(listed))  # a method that is documented is supported
        for status, types in found.items():
            self.assertEqual(types, listed[status], status)

    def test_limits(self) -> None:
        """The limits of the settings are told."""
        made = document(offer(max_body_bytes=12_345, max_json_depth=77, reply_timeout=5, http_max_headers=33))
        for part in ("12,345 bytes", "77 levels", "waits 5 s", "33 headers"):
            self.assertIn(part, made["info"]["description"])
        self.assertIn("12,345 bytes", made["paths"]["/v1/predict"]["post"]["requestBody"]["description"])

    def test_without_store(self) -> None:
        """Without a result store nothing is said of kept answers, and Idempotency-Key is known to get 501."""
        made, kept = document(offer()), document(offer(**WITH_STORE))
        self.assertEqual([path for path in made["paths"] if path.startswith("/v1/requests")], [])
        self.assertIn("501", made["paths"]["/v1/predict"]["post"]["responses"])
        self.assertNotIn("501", kept["paths"]["/v1/predict"]["post"]["responses"])
        names = [
            {each["name"] for each in which["paths"]["/v1/predict"]["post"]["parameters"]} for which in (made, kept)
        ]
        self.assertEqual(names[1] - names[0], {"Prefer", "Idempotency-Key"})
        self.assertNotIn("RequestStatus", made["components"]["schemas"])

    def parking(self, *rights: tuple[str, tuple[Right, ...]]) -> dict[str, Any]:
        """The operations of parked messages by their ids, for somebody with rights on them."""
        made = document(replace(offer(), parking=rights))
        return {
            operation["operationId"]: operation
            for path, methods in made["paths"].items()
            for operation in methods.values()
            if path.startswith("/v1/parking")
        }

    def queues(self, operation: dict[str, Any]) -> Any:
        """The queues that an operation names."""
        return operation["parameters"][0]["schema"].get("enum")

    def test_parking_rights(self) -> None:
        """Of parked messages a caller is told what its rights open, and on which queues."""
        self.assertEqual(self.parking(), {})
        lists = {"listParkingQueues", "listParkedMessages", "listParkingJobs", "getParkingJob"}
        reads, jobs = {"getParkedMessage", "getParkedBody"}, {"cancelParkingJob"}
        for rights, more in (
            (("read",), reads),
            (("replay",), jobs | {"replayParkedMessages"}),
            (("drop",), jobs | {"dropParkedMessages"}),
        ):
            self.assertEqual(set(self.parking(("fib", rights))), lists | more, rights)
        both = self.parking(("a/b", ("replay",)), ("fib", ("read", "drop")))
        for name, queues in (
            ("listParkedMessages", ["a/b", "fib"]),
            ("replayParkedMessages", ["a/b"]),
            ("getParkedBody", ["fib"]),
        ):
            self.assertEqual(self.queues(both[name]), queues, name)
        for rights, searches in ((("read",), True), (("replay",), False)):
            listing = self.parking(("fib", rights))["listParkedMessages"]
            self.assertEqual("grep" in {each["name"] for each in listing["parameters"]}, searches)

    def test_queue_by_the_name_of_jobs(self) -> None:
        """A queue called "jobs" is not among the names: clients would write its path as that of the jobs."""
        for others, names in (((), None), ((("fib", ("read",)),), ["fib"])):
            listing = self.parking(("jobs", ("read",)), *others)["listParkedMessages"]
            self.assertEqual(self.queues(listing), names)
            self.assertIn("%6Aobs", listing["parameters"][0]["description"])

    def test_parking_jobs(self) -> None:
        """A job begins with 202 and its path. Only to drop needs a count."""
        operations = self.parking(*ALL_RIGHTS)
        for name in ("replay", "drop"):
            responses = operations[f"{name}ParkedMessages"]["responses"]
            self.assertIn("Location", responses["202"]["headers"])
            self.assertEqual("428" in responses, name == "drop")

    def test_location(self) -> None:
        """Only errors that have a path at which to ask later come with Location: that of a busy queue has none."""
        responses = document(replace(offer(**WITH_STORE), parking=ALL_RIGHTS))["components"]["responses"]
        having = {name for name, response in responses.items() if "Location" in response["headers"]}
        for name in ("ParkingBusy", "Error409"):
            self.assertNotIn(name, having)
        self.assertTrue(any("IdempotencyInProgress" in name for name in having), having)

    def test_options(self) -> None:
        """The document says where OPTIONS is not supported."""
        made = (document(offer()), document(replace(offer(), parking=ALL_RIGHTS)))
        self.assertEqual(
            [" and those from `/v1/parking` has" in each["info"]["description"] for each in made], [False, True]
        )

    def test_webhooks(self) -> None:
        """The names of the caller's endpoints are told, if there are any."""
        made = document(replace(offer(**WITH_STORE), webhooks=("a", "b")))
        (webhook,) = [each for each in made["paths"]["/v1/predict"]["post"]["parameters"] if each["name"] == "Webhook"]
        self.assertEqual(webhook["schema"], {"enum": ["a", "b"]})

    def test_routing_key(self) -> None:
        """The routing key is required where no entry names one; a path that has a key takes no other."""
        for offered, required in ((offer(), True), (replace(offer(), has_default_key=True), False)):
            made = document(offered)
            key = made["paths"]["/v1/predict"]["post"]["parameters"][0]
            self.assertEqual((key["name"], key.get("required", False)), ("routing-key", required))
            self.assertEqual(list(key["examples"]), ["fraud.check", "images.now"])
            key = made["paths"]["/v1/fraud/predict"]["post"]["parameters"][0]
            self.assertEqual((key["schema"]["const"], key.get("required", False)), ("fraud.check", False))

    def test_added_paths(self) -> None:
        """Each path of the queue file is an operation, with an id of its own and the bodies of its entry."""
        made = document(offer())
        ids = [operation["operationId"] for methods in made["paths"].values() for operation in methods.values()]
        self.assertEqual(len(ids), len(set(ids)))
        body = made["paths"]["/v1/images"]["post"]["requestBody"]
        self.assertEqual(list(body["content"]), ["image/*"])
        self.assertIn("gzip", body["description"])
        self.assertNotIn("gzip", made["paths"]["/v1/fraud/predict"]["post"]["requestBody"]["description"])
        self.assertNotIn("JSON", body["description"])
        self.assertEqual(
            list(made["paths"]["/v1/predict"]["post"]["requestBody"]["content"]), ["application/json", "image/*"]
        )

    def test_open_inference(self) -> None:
        """The protocol's routes are there if an entry has it, with the names of its models."""
        made = document(offer())
        name = made["paths"]["/v2/models/{name}/infer"]["post"]["parameters"][0]
        self.assertEqual(name["schema"]["enum"], ["fraud-detector"])
        without = document(replace(offer(), entries=BUILT_IN))
        self.assertEqual([path for path in without["paths"] if path.startswith("/v2")], [])

    def test_nothing_about_the_model(self) -> None:
        """Neither address nor credentials of a model are told."""
        text = json.dumps(document(offer(**WITH_STORE)))
        self.assertEqual([part for part in ("fraud.internal", "hunter2", "amqp:", "sqlite:") if part in text], [])


class ServedTests(APITestCase):
    """The routes."""

    entries: ClassVar = ENTRIES

    def get(self, path: str, *headers: str, method: str = "GET") -> Response:
        client = Client(self.site)
        client.request(method, path, b"", *headers)
        return client.response()

    def test_document(self) -> None:
        """The document is served as JSON, and is that of the queue file."""
        response = self.get("/openapi.json")
        self.assertEqual((response.status, response.headers["content-type"]), (200, "application/json"))
        self.assertIn("/v1/images", json.loads(response.body)["paths"])

    def test_versions(self) -> None:
        """Who has the newest version gets 304 without a body; who has another one, or asks for any, is answered so."""
        for path in ("/openapi.json", "/docs"):
            whole = self.get(path)
            etag = whole.headers["etag"]
            for sent, status in (
                (etag, 304),
                (f"W/{etag}", 304),
                (f'"a", {etag}', 304),
                ("*", 304),
                ('"a"', 200),
                ("", 200),
                (etag.strip('"'), 200),
                (f'"{etag}"', 200),
            ):
                response = self.get(path, f"If-None-Match: {sent}")
                self.assertEqual(response.status, status, sent)
                self.assertEqual(response.headers["etag"], etag)
                self.assertEqual(response.body, whole.body if status == 200 else b"")

    def test_page(self) -> None:
        """The page is HTML that may load nothing."""
        response = self.get("/docs")
        self.assertEqual((response.status, response.headers["content-type"]), (200, "text/html; charset=utf-8"))
        self.assertIn("default-src 'none'", response.headers["content-security-policy"])
        self.assertEqual(response.headers["x-content-type-options"], "nosniff")
        self.assertIn(b"/v1/images", response.body)

    def test_home(self) -> None:
        """The root sends browsers to the page, and tells programs where the document is."""
        response = self.get("/")
        self.assertEqual((response.status, response.headers["location"], response.body), (302, "/docs", b""))
        self.assertIn('</openapi.json>; rel="service-desc"', response.headers["link"])

    def test_methods(self) -> None:
        """HEAD and OPTIONS are supported, and others are not."""
        for path in ("/", "/docs", "/openapi.json"):
            self.assertEqual(self.get(path, method="OPTIONS").headers["allow"], "GET, HEAD, OPTIONS")
            self.assertEqual(self.get(path, method="HEAD").status, 302 if path == "/" else 200)
            self.assertEqual(self.get(path, method="POST").status, 405)

    def test_admission(self) -> None:
        """Nothing stays in flight; the process that drains refuses."""
        for path in ("/", "/docs", "/openapi.json"):
            self.get(path)
        self.assertEqual(self.metrics.registry.get_sample_value("provider_gateway_http_in_flight"), 0)
        self.api.drain()
        for path in ("/", "/docs", "/openapi.json"):
            self.assertEqual(self.get(path).status, 503)


class FakeRequest:
    """A request of an identity."""

    def __init__(self, *names: str) -> None:
        self.identity = Identity(names, 2e9)
        self.headers: dict[str, str] = {}
        self.requestHeaders = self

    def getRawHeaders(self, name: bytes, default: Any = ()) -> Any:
        return default or []

    def setHeader(self, name: str, value: str) -> None:
        self.headers[name] = value


class RightsTests(SynchronousTestCase):
    """Callers with different rights."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        secret = self.path.with_suffix(".secret")
        secret.write_text(f"whsec_{'A' * 44}")
        self.write(
            "- {identities: [a.example], routingKeys: [fraud.check],",
            f"   webhooks: {{done: {{url: 'https://h.example/', secretFiles: [{secret.name}]}}}}}}",
            "- {identities: [b.example], routingKeys: ['#']}",
        )
        self.rules = AccessRules(self.path, Clock())
        admission = Admission(max_in_flight=9, origins=Origins(()), access_rules=self.rules, metrics=Metrics())
        self.documentation = Documentation(API.routes(), offer(**WITH_STORE), admission, self.parking_rights)

    def parking_rights(self, request: Any) -> Any:
        return tuple(
            (queue, tuple(sorted(given))) for queue, given in self.rules.parking_rights(request.identity).items()
        )

    def write(self, *lines: str) -> None:
        self.path.write_text("\n".join(lines))

    def seen_by(self, name: str) -> dict[str, Any]:
        """The document that a caller gets."""
        made: dict[str, Any] = json.loads(self.documentation.document(FakeRequest(name)))
        return made

    def test_models(self) -> None:
        """A caller is told of the models that it may use, as in the list of models; others do not see their paths."""
        for name, expected in (
            ("a.example", {"/v1/fraud/predict", "/v1/fraud-predict"}),
            ("b.example", {"/v1/fraud/predict", "/v1/fraud-predict", "/v1/images"}),
            ("c.example", set()),
        ):
            made = self.seen_by(name)
            added = {path for path in made["paths"] if "fraud" in path or "images" in path}
            self.assertEqual(added, expected, name)
            self.assertEqual("/v2" in made["paths"], bool(expected))
            self.assertEqual("images" in json.dumps(made), "/v1/images" in expected)
            page = self.documentation.page(FakeRequest(name)).decode()
            self.assertEqual("fraud" in page, bool(expected))

    def test_webhooks(self) -> None:
        """A caller is told of its own endpoints."""
        self.assertIn('{"enum": ["done"]}', json.dumps(self.seen_by("a.example")))
        self.assertNotIn("Webhook", json.dumps(self.seen_by("b.example")["paths"]))

    def test_parking(self) -> None:
        """A caller is told of parked messages if it has a right on them; other callers, and before, it is not."""
        self.assertNotIn("/v1/parking", json.dumps(self.seen_by("a.example")))
        self.write("- {identities: [a.example], parking: [replay], queues: [work]}")
        self.rules.load()
        made = self.seen_by("a.example")
        self.assertIn("/v1/parking/{queue}/replay", made["paths"])
        self.assertNotIn("/v1/parking/{queue}/drop", made["paths"])
        self.assertIn(b"/v1/parking/{queue}/replay", self.documentation.page(FakeRequest("a.example")))
        self.assertNotIn("/v1/parking", json.dumps(self.seen_by("b.example")))

    def test_changed_rules(self) -> None:
        """Other rights count at once, and have another version."""
        before, after = FakeRequest("c.example"), FakeRequest("c.example")
        self.documentation.document(before)
        self.write("- {identities: [c.example], routingKeys: [images.now]}")
        self.rules.load()
        self.assertIn("/v1/images", json.loads(self.documentation.document(after))["paths"])
        self.assertNotEqual(before.headers["ETag"], after.headers["ETag"])
