"""The page's answers: who may see it, pages from templates, and what operators are told of failures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.logger import Logger

from provider_gateway.errors import MethodNotAllowed
from provider_gateway.http_server.problems import log_error, render
from provider_gateway.workbench.own_origin import check_own_origin
from provider_gateway.workbench.rendering import protect

if TYPE_CHECKING:
    from provider_gateway.clocks import WallClock
    from provider_gateway.errors import GatewayError
    from provider_gateway.parking.jobs import JobDocument
    from provider_gateway.parking.operators import Operator
    from provider_gateway.workbench.access import Access
    from provider_gateway.workbench.rendering import Rendering

NOTHING_HERE = "There is nothing at this path."
#: After these errors the same address helps no more.
_HOPELESS = frozenset({400, 404, 405})


class Answers:
    """Answers operators with pages, and others with problem documents.

    Args:
        access: knows the operators.
    """

    _log = Logger()

    def __init__(self, rendering: Rendering, access: Access, wall_clock: WallClock) -> None:
        self._rendering = rendering
        self._access = access
        self._wall_clock = wall_clock

    def enter(self, request: Any) -> Operator:
        """The operator of a request.

        Raises:
            Forbidden: the caller has no right.
            CrossSite: a page of another origin makes the request; a link of one may lead here.
        """
        protect(request)
        request.rquid = request.rquid_sent()
        check_own_origin(request)
        return self._access.operator(request)

    def page(self, request: Any, operator: Operator, view: str, template: str = "", **values: object) -> bytes:
        """Respond with a page.

        Args:
            view: that is marked in the navigation.
            template: its name; empty if it is the view's.
        """
        return self._rendering.page(
            request, f"{template or view}.html", operator=operator, view=view, now=self._wall_clock(), **values
        )

    def failure(self, request: Any, error: GatewayError) -> bytes:
        """Answer any failure."""
        protect(request)
        request.rquid = request.rquid or request.rquid_sent()
        log_error(self._log, request, error)
        operator = self._access.who(request)
        if operator is None:
            return render(request, error, request.rquid)
        return self.problem(request, operator, error)

    def problem(self, request: Any, operator: Operator, error: GatewayError, job: JobDocument | None = None) -> bytes:
        """Tell an operator what went wrong.

        Args:
            job: that has to end before it can go right.
        """
        request.setResponseCode(error.status, error.title.encode("ascii"))
        if error.retry_after is not None:
            request.setHeader("Retry-After", str(error.retry_after))
        if isinstance(error, MethodNotAllowed):
            request.setHeader("Allow", ", ".join(error.allowed))
        here = None if error.status in _HOPELESS else request.uri.decode("latin-1")
        return self.page(request, operator, "", "problem", title=error.title, detail=error.detail, job=job, here=here)
