"""The page's answers: who may see it, pages from templates, and what operators are told of failures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from provider_gateway.errors import MethodNotAllowed, NotFound
from provider_gateway.http_server.problems import render
from provider_gateway.workbench.rendering import protect

if TYPE_CHECKING:
    from collections.abc import Callable

    from provider_gateway.clocks import WallClock
    from provider_gateway.errors import GatewayError
    from provider_gateway.parking.jobs import JobDocument
    from provider_gateway.parking.operators import Operator
    from provider_gateway.workbench.rendering import Rendering

NOTHING_HERE = "There is nothing at this path."
#: After these errors the same address helps no more.
_HOPELESS = frozenset({400, 404, 405})


class Answers:
    """Answers operators with pages, and others as if there were none.

    Args:
        who: the operator of a request; None for a caller without any right.
    """

    def __init__(self, rendering: Rendering, who: Callable[[Any], Operator | None], wall_clock: WallClock) -> None:
        self._rendering = rendering
        self._who = who
        self._wall_clock = wall_clock

    def enter(self, request: Any) -> Operator:
        """The operator of a request.

        Raises:
            NotFound: the caller has no right: for it, there is nothing here.
        """
        operator = self._who(request)
        if operator is None:
            raise NotFound(NOTHING_HERE)
        protect(request)
        request.rquid = request.rquid_sent()
        return operator

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
        operator = self._who(request)
        request.rquid = request.rquid_sent()
        if operator is None:
            return render(request, NotFound(NOTHING_HERE), request.rquid)
        protect(request)
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
