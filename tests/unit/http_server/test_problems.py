"""Problem documents: members, the error for each failure, and the headers of the response."""

from __future__ import annotations

import json
from typing import Any

from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.test.requesthelper import DummyRequest
from werkzeug.exceptions import MethodNotAllowed as WerkzeugMethodNotAllowed, NotFound as WerkzeugNotFound

from provider_gateway import errors
from provider_gateway.errors import (
    GatewayError,
    MethodNotAllowed,
    ModelFailure,
    NoRoute,
    NotFound,
    QueueTooLong,
    RateLimited,
)
from provider_gateway.http_server.problems import error_of, render
from provider_gateway.message.problem import problem_body
from provider_gateway.results.errors import NotConfirmed


def all_errors(base: type[GatewayError] = GatewayError) -> list[type[GatewayError]]:
    """A class with all its subclasses."""
    return [base, *(each for child in base.__subclasses__() for each in all_errors(child))]


def example(kind: type[GatewayError]) -> GatewayError:
    """An error of this class."""
    if issubclass(kind, MethodNotAllowed):
        return kind("some detail", ("GET", "POST"))
    if kind is NotConfirmed:
        return kind("some detail", "id")
    if kind is ModelFailure:
        return kind("some detail", "timeout")
    if issubclass(kind, RateLimited | QueueTooLong):
        return kind("some detail", 7)
    return kind("some detail")


class ErrorsTests(SynchronousTestCase):
    """What programs may rely on."""

    def test_status_and_problem(self) -> None:
        """Each class has an error status, its own problem name, and a title that fits a status line.

        The kinds of a model's failure are one problem for the caller.
        """
        kinds = [
            kind for kind in all_errors() if kind.__module__ == errors.__name__ and ModelFailure not in kind.__bases__
        ]
        self.assertGreater(len(kinds), 10)
        names: dict[str, type[GatewayError]] = {}
        for kind in kinds:
            self.assertTrue(400 <= kind.status <= 599, f"{kind.__name__} has status {kind.status}")
            self.assertRegex(kind.problem, r"\A[a-z]+(-[a-z]+)*\Z")
            self.assertTrue(kind.title.isascii() and kind.title.isprintable() and kind.title, kind.__name__)
            self.assertNotIn(kind.problem, names, f"{kind.__name__} and {names.get(kind.problem)} share a problem")
            names[kind.problem] = kind

    def test_documented_statuses(self) -> None:
        """The statuses of the documented table are those of the classes."""
        expected = {
            "BadRequest": 400,
            "NoRoute": 404,
            "NotFound": 404,
            "MethodNotAllowed": 405,
            "BodyTooLarge": 413,
            "UnsupportedMediaType": 415,
            "InvalidJSON": 422,
            "HeadersTooLarge": 431,
            "ModelFailure": 502,
            "BrokerUnavailable": 503,
            "BrokerBlocked": 503,
            "Nacked": 503,
            "Overloaded": 503,
            "Draining": 503,
            "DeadlinePassed": 504,
            "OutcomeUnknown": 504,
        }
        self.assertEqual(expected, {name: getattr(errors, name).status for name in expected})

    def test_only_503_asks_to_come_again(self) -> None:
        """Only a 503 suggests a retry: any other retry could run a request twice."""
        for kind in all_errors():
            self.assertEqual(kind.status == 503, kind.retry_after is not None, kind.__name__)


class DocumentTests(SynchronousTestCase):
    """RFC 9457."""

    def test_members(self) -> None:
        """A document has type, title, status and detail, and the request's id."""
        self.assertEqual(
            {
                "type": "urn:provider-gateway:problem:no-route",
                "title": "No queue is bound for this routing key",
                "status": 404,
                "detail": "Nobody listens to größe.",
                "rquid": "r-1",
            },
            json.loads(problem_body(NoRoute("Nobody listens to größe."), "r-1")),
        )

    def test_without_id(self) -> None:
        """A document without a request id has no such member."""
        self.assertEqual(
            {"type", "title", "status", "detail"}, set(json.loads(problem_body(NotFound("Nothing."), None)))
        )


class ErrorOfTests(SynchronousTestCase):
    """The error for a failure."""

    def test_own_errors(self) -> None:
        """An error of ours stays what it is."""
        error = NoRoute("x")
        self.assertIs(error, error_of(Failure(error)))

    def test_method(self) -> None:
        """A method that the path does not support becomes 405, with the methods that it supports."""
        error = error_of(Failure(WerkzeugMethodNotAllowed(["POST", "GET"])))
        assert isinstance(error, MethodNotAllowed)
        self.assertEqual((405, ("GET", "POST")), (error.status, error.allowed))
        self.assertIn("GET, POST", error.detail)

    def test_path(self) -> None:
        """An unknown path becomes 404."""
        self.assertIsInstance(error_of(Failure(WerkzeugNotFound())), NotFound)

    def test_unforeseen(self) -> None:
        """Any other exception becomes 500; its details are logged, and not sent."""
        error = error_of(Failure(ZeroDivisionError("secret detail")))
        self.assertEqual((500, "internal-error"), (error.status, error.problem))
        self.assertNotIn("secret", error.detail)
        self.assertEqual(["secret detail"], [str(f.value) for f in self.flushLoggedErrors(ZeroDivisionError)])


class RenderTests(SynchronousTestCase):
    """An error as a response."""

    def rendered(self, error: GatewayError) -> tuple[Any, dict[str, str], bytes]:
        """Status, headers (lower case) and body of the response for an error."""
        request: Any = DummyRequest([b"v1"])
        request.path = b"/v1"
        body = render(request, error, "r-1")
        headers = {
            name.decode().lower(): b", ".join(values).decode()
            for name, values in request.responseHeaders.getAllRawHeaders()
        }
        return request.responseCode, headers, body

    def test_every_error(self) -> None:
        """The response has the error's status, a problem document, and Retry-After if the error has one."""
        for kind in all_errors():
            error = example(kind)
            status, headers, body = self.rendered(error)
            self.assertEqual(kind.status, status, kind.__name__)
            self.assertEqual("application/problem+json", headers["content-type"], kind.__name__)
            self.assertEqual(str(len(body)), headers["content-length"], kind.__name__)
            self.assertEqual(problem_body(error, "r-1"), body, kind.__name__)
            wait = None if error.retry_after is None else str(error.retry_after)
            self.assertEqual(wait, headers.get("retry-after"), kind.__name__)

    def test_allow(self) -> None:
        """Only a 405 has Allow, with the supported methods (RFC 9110, 15.5.6)."""
        self.assertEqual("GET, POST", self.rendered(MethodNotAllowed("x", ("GET", "POST")))[1]["allow"])
        self.assertNotIn("allow", self.rendered(NotFound("x"))[1])
