"""Klein with a table of the routes that have no parameters.

For each request Klein matches URL and method and makes six Deferreds, which takes 35 µs. A request whose path and
method are in the table goes to its route at once, and its coroutine has no Deferred. Every other request is Klein's.
"""

from __future__ import annotations

from inspect import iscoroutine
from typing import TYPE_CHECKING, Any, TypeVar, cast

from klein import Klein
from klein.resource import KleinResource
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.server import NOT_DONE_YET
from werkzeug.exceptions import MethodNotAllowed

from provider_gateway.deferreds import Running

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from twisted.web.resource import IResource

    from provider_gateway.http_server.request import BoundedRequest

F = TypeVar("F")
_log = Logger()


class App(Klein):
    """A Klein application whose routes return bytes, or a Deferred or coroutine of bytes.

    Attributes:
        error_functions: error classes, and the function that makes the response for them; the first match counts.
        route_functions: the functions of the routes, by the names that Klein gives them.
        owner: the object whose methods they are; None for functions of a module.
    """

    def __init__(self) -> None:
        super().__init__()
        self.route_functions: dict[str, Any] = {}
        self.owner: Any = None
        self.error_functions: list[tuple[tuple[type[Exception], ...], Any]] = []

    def __get__(self, instance: Any, owner: object) -> App:
        """The application bound to the object whose methods are its routes (klein.Klein)."""
        bound: Any = super().__get__(instance, owner)
        bound.error_functions = self.error_functions
        bound.route_functions, bound.owner = self.route_functions, instance
        return cast("App", bound)

    def route(self, url: str, *args: Any, **kwargs: Any) -> Callable[[F], F]:
        """Register the function of a route (klein.Klein)."""
        register: Any = super().route(url, *args, **kwargs)

        def remember(function: F) -> F:
            registered: F = register(function)
            self.route_functions[kwargs.get("endpoint") or cast("Any", function).__name__] = function
            return registered

        return remember

    def serve(self, endpoint: str, request: BoundedRequest) -> Any:
        """Call the function of a route without parameters: bytes, or a Deferred or coroutine of bytes."""
        function = self.route_functions[endpoint]
        return function(request) if self.owner is None else function(self.owner, request)

    def handle_errors(self, *errors: type[Exception]) -> Callable[[F], F]:  # type: ignore[override] # more strict
        """Register a function that makes the response for errors of these classes (klein.Klein)."""
        register: Any = super().handle_errors(*errors)

        def remember(function: F) -> F:
            registered: F = register(function)
            self.error_functions.append((errors, registered))
            return registered

        return remember

    def resource(
        self,
        more: Mapping[bytes, str] | None = None,
        beside: Callable[[BoundedRequest], IResource | None] = lambda _: None,
    ) -> KleinResource:
        """The resource that serves the application (klein.Klein).

        Args:
            more: more paths, each with the path of a route without parameters that serves it. They are compared byte by
                byte.
            beside: finds another resource for a request that is not in the table; None leaves it to Klein.
        """
        return TableResource(self, more or {}, beside)

    def answer_to(self, request: BoundedRequest, failure: Failure) -> bytes:
        """Set status and headers of the response to a failed request, and return its body.

        Raises:
            Exception: the failure's, if no error function is registered for it.
        """
        for errors, function in self.error_functions:
            if failure.check(*errors):
                body: Any = self.execute_error_handler(function, request, failure)
                assert isinstance(body, bytes), "error functions return bytes"
                return body
        raise failure.value  # type: ignore[misc] # an exception, though Twisted types it wider


class TableResource(KleinResource):
    """Serves an application's requests from its table, or by Klein."""

    def __init__(
        self, app: App, more: Mapping[bytes, str], beside: Callable[[BoundedRequest], IResource | None]
    ) -> None:
        super().__init__(app)
        self._beside = beside
        self._table_app = app
        #: Bound once for all requests.
        self._on_end = self._ended
        self._table = {
            (rule.rule.encode(), method.encode()): rule.endpoint
            for rule in app.url_map.iter_rules()
            if not rule.arguments
            for method in rule.methods or ()
        }
        #: The methods of the paths that Klein does not know.
        self._methods = {
            path: sorted(method.decode() for served, method in self._table if served == like.encode())
            for path, like in more.items()
        }
        for path, like in more.items():
            for method in map(str.encode, self._methods[path]):
                self._table[path, method] = self._table[like.encode(), method]

    def render(self, request: Any) -> Any:
        """Begin to serve a request (twisted.web.resource.IResource)."""
        endpoint = self._table.get((request.path, request.method))
        if endpoint is None and request.path not in self._methods:
            other = self._beside(request)
            return super().render(request) if other is None else other.render(request)
        try:
            if endpoint is None:
                raise MethodNotAllowed(self._methods[request.path])
            answer: Any = self._table_app.serve(endpoint, request)
        except Exception:  # noqa: BLE001 - every error gets a response
            answer = Failure()
        if iscoroutine(answer):
            request.served_by = running = Running(answer, self._on_end, request)
            running.start()
        elif isinstance(answer, Deferred):
            request.served_by = answer
            answer.addBoth(self._answer, request)
        else:
            self._answer(answer, request)
        return NOT_DONE_YET

    def _ended(self, running: Running[bytes, BoundedRequest], result: bytes | Failure) -> None:
        request = running.about
        request.served_by = None  # both would hold each other
        self._answer(result, request)

    def _answer(self, result: bytes | Failure, request: BoundedRequest) -> None:
        """Answer with what a route returned or failed with. Log a failure if the client has left."""
        if request.is_lost:
            if isinstance(result, Failure) and not result.check(CancelledError):
                _log.failure("A request failed after its client had left", result)
            return
        try:
            body = result if isinstance(result, bytes) else self._table_app.answer_to(request, result)
            request.write(body)
            request.finish()
        except Exception:  # noqa: BLE001 - every request gets a response
            request.processingFailed(Failure())
