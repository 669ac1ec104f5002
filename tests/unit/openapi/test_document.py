"""The document of operations, whoever has the routes."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.errors import DeadlinePassed, Forbidden, NotFound, QueueTooLong, UnsupportedMediaType
from provider_gateway.http_server.app import App
from provider_gateway.openapi.document import described, openapi_document, routes_of
from provider_gateway.openapi.operation import Answer, Body, Operation, Parameter

ID = Parameter(name="id", where="path", description="which one")


def operation(**values: Any) -> Operation:
    """An operation with an answer."""
    usual = {"id": "it", "tag": "things", "summary": "Do it", "answers": {"200": Answer(description="Done.")}}
    return Operation(**{**usual, **values})


def document(operations: dict[tuple[str, str], Operation], *, has_tls: bool = True) -> dict[str, Any]:
    """The document of operations."""
    tags = {"things": "Things.", "rest": ""}
    return openapi_document(operations, title="t", description="d", tags=tags, schemas={}, has_tls=has_tls)


def problem_types(made: dict[str, Any], method: str, path: str, status: str) -> list[str]:
    """The names of the problem types that a response may have."""
    name = made["paths"][path][method]["responses"][status]["$ref"].rpartition("/")[2]
    content = made["components"]["responses"][name]["content"]
    schema = content["application/problem+json"]["schema"]
    schema = schema.get("anyOf", [schema])[0]
    return [each.rpartition(":")[2] for each in schema["allOf"][1]["properties"]["type"]["enum"]]


class RoutesTests(SynchronousTestCase):
    """From the table of routes to operations."""

    app = App()

    @app.route("/things", methods=["GET", "POST"])
    @app.route("/things/<string(length=2):id_>/of/<name>", methods=["DELETE"])
    @app.route("/things", methods=["OPTIONS"])
    def serve(self, request: object) -> bytes:
        """Never called."""
        return b""

    def test_routes(self) -> None:
        """Paths are written as OpenAPI writes them; HEAD and OPTIONS are left out."""
        expected = {("GET", "/things"), ("POST", "/things"), ("DELETE", "/things/{id}/of/{name}")}
        self.assertEqual(set(routes_of(self.app)), expected)

    def test_silence(self) -> None:
        """A route of which nothing is said is an error that names it. One that is not offered is left out."""
        said = {("GET", "/things"): operation(), ("DELETE", "/things/{id}/of/{name}"): None}
        error = self.assertRaises(LookupError, described, routes_of(self.app), said)
        self.assertIn("POST /things", str(error))
        said["POST", "/things"] = operation()
        self.assertEqual(list(described(routes_of(self.app), said)), [("GET", "/things"), ("POST", "/things")])


class DocumentTests(SynchronousTestCase):
    """The document."""

    def test_errors(self) -> None:
        """Each status has one response, with the types of all errors that have it, those of every request included."""
        made = document({("GET", "/a/{id}"): operation(parameters=(ID,), errors=(NotFound, QueueTooLong))})
        responses = made["paths"]["/a/{id}"]["get"]["responses"]
        self.assertEqual(sorted(responses), ["200", "400", "403", "404", "408", "413", "431", "500", "503"])
        expected = ["queue-too-long", "too-many-requests-in-flight"]
        self.assertEqual(problem_types(made, "get", "/a/{id}", "503"), expected)
        self.assertEqual(problem_types(made, "get", "/a/{id}", "404"), ["not-found"])

    def test_headers_of_errors(self) -> None:
        """Responses have the headers that their errors come with."""
        errors = (DeadlinePassed, QueueTooLong, UnsupportedMediaType)
        made = document({("GET", "/a"): operation(errors=errors)})
        found = {
            status: sorted(made["components"]["responses"][response["$ref"].rpartition("/")[2]]["headers"])
            for status, response in made["paths"]["/a"]["get"]["responses"].items()
            if status != "200"
        }
        self.assertEqual(found["400"], ["RqUID"])
        self.assertEqual(found["415"], ["Accept", "Accept-Encoding", "RqUID"])
        self.assertEqual(found["503"], ["Retry-After", "RqUID"])
        self.assertEqual(found["504"], ["Location", "RqUID"])

    def test_relayed_errors(self) -> None:
        """Where the model's answers are passed on, an error may have any form; elsewhere it has ours."""
        made = document({("GET", "/a"): operation(relays=True), ("GET", "/b"): operation(id="b")})
        responses = made["components"]["responses"]
        self.assertIn("*/*", responses["ForbiddenOrOfTheModel"]["content"])
        self.assertEqual(list(responses["Forbidden"]["content"]), ["application/problem+json"])
        for path in ("/a", "/b"):
            self.assertEqual(problem_types(made, "get", path, "403"), [Forbidden.problem])

    def test_open_inference(self) -> None:
        """Errors of the Open Inference Protocol have its form, and its schema is there only then."""
        made = document({("GET", "/a"): operation(form="open-inference")})
        content = made["components"]["responses"]["OpenInferenceForbidden"]["content"]
        self.assertEqual(content, {"application/json": {"schema": {"$ref": "#/components/schemas/OpenInferenceError"}}})
        self.assertNotIn("OpenInferenceError", document({("GET", "/a"): operation()})["components"]["schemas"])

    def test_body(self) -> None:
        """A body is required, with a schema for each media type."""
        body = Body(description="It.", content={"image/*": {}, "application/json": {"type": "object"}})
        made = document({("POST", "/a"): operation(body=body)})
        found = made["paths"]["/a"]["post"]["requestBody"]
        self.assertTrue(found["required"])
        self.assertEqual(found["content"]["application/json"], {"schema": {"type": "object"}})

    def test_security(self) -> None:
        """Callers show a client certificate, unless there is no TLS. Tags without operations are left out."""
        made = document({("GET", "/a"): operation()})
        self.assertEqual(made["components"]["securitySchemes"]["clientCertificate"]["type"], "mutualTLS")
        self.assertEqual([tag["name"] for tag in made["tags"]], ["things"])
        plain = document({("GET", "/a"): operation()}, has_tls=False)
        self.assertNotIn("security", plain)
        self.assertNotIn("securitySchemes", plain["components"])
