"""Klein with a table of the routes that have no parameters, in place of matching each request's URL and method.

Klein matches a request, wraps its route in four Deferreds, and is told of its end by two more: 35 µs. A request of the
table goes to its route at once; every other one (another path, another method) is Klein's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, cast

from klein import Klein
from klein.resource import KleinResource
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.server import NOT_DONE_YET

if TYPE_CHECKING:
    from collections.abc import Callable

    from provider_gateway.http_server.request import BoundedRequest

F = TypeVar("F")
_log = Logger()


class App(Klein):
    """A Klein application for our site, whose routes answer with bytes, at once or later."""

    def __init__(self) -> None:
        super().__init__()
        self.error_functions: list[tuple[tuple[type[Exception], ...], Any]] = []

    def __get__(self, instance: Any, owner: object) -> App:
        """The application of an object whose methods are the routes (klein.Klein)."""
        bound: Any = super().__get__(instance, owner)
        bound.error_functions = self.error_functions
        return cast("App", bound)

    def handle_errors(self, *errors: type[Exception]) -> Callable[[F], F]:  # type: ignore[override] # more strict
        """Register a function for errors of some classes (klein.Klein)."""
        register: Any = super().handle_errors(*errors)

        def remember(function: F) -> F:
            registered: F = register(function)
            self.error_functions.append((errors, registered))
            return registered

        return remember

    def resource(self) -> KleinResource:
        """The resource that serves it (klein.Klein)."""
        return TableResource(self)

    def answer_to(self, request: BoundedRequest, failure: Failure) -> bytes:
        """The body that the first error function for such a failure answers with.

        Raises:
            Exception: that of the failure if there is no function for it.
        """
        for errors, function in self.error_functions:
            if failure.check(*errors):
                body: Any = self.execute_error_handler(function, request, failure)
                assert isinstance(body, bytes), "an error is answered at once"
                return body
        raise failure.value  # type: ignore[misc] # Twisted says less of it than is known


class TableResource(KleinResource):
    """Serves requests of an application."""

    def __init__(self, app: App) -> None:
        super().__init__(app)
        self._table_app = app
        self._table = {
            (rule.rule.encode(), method.encode()): rule.endpoint
            for rule in app.url_map.iter_rules()
            if not rule.arguments
            for method in rule.methods or ()
        }

    def render(self, request: Any) -> Any:
        """Begin to serve a request (twisted.web.resource.IResource)."""
        endpoint = self._table.get((request.path, request.method))
        if endpoint is None:
            return super().render(request)
        try:
            answer: Any = self._table_app.execute_endpoint(endpoint, request)
        except Exception:  # noqa: BLE001 - whatever it is, it is answered
            answer = Failure()
        if isinstance(answer, Deferred):
            request.served_by = answer
            answer.addBoth(self._answer, request)
        else:
            self._answer(answer, request)
        return NOT_DONE_YET

    def _answer(self, result: bytes | Failure, request: BoundedRequest) -> None:
        """Answer with what a route returned, or what it failed with; log it if nobody is there any more."""
        if request.is_lost:
            if isinstance(result, Failure) and not result.check(CancelledError):
                _log.failure("A request failed after its client had left", result)
            return
        try:
            body = result if isinstance(result, bytes) else self._table_app.answer_to(request, result)
            request.write(body)
            request.finish()
        except Exception:  # noqa: BLE001 - the request must end, and does
            request.processingFailed(Failure())
