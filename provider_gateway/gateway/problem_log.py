"""The log line of a request that is answered with an error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.logger import LogLevel

from provider_gateway.security.identity import text_of_identity

if TYPE_CHECKING:
    from twisted.logger import Logger

    from provider_gateway.errors import GatewayError


def log_problem(log: Logger, request: Any, error: GatewayError) -> None:
    """Log an error. If the request is traced, the line names its trace, and so does the problem document.

    With a broker that is away, or a caller over its rate, every request fails. The metrics count them; a line for each
    would flood the log.
    """
    traced = {} if request.span is None else {"trace_id": request.span.trace_id}
    error.members = {**error.members, **traced}
    log.emit(
        LogLevel.debug if error.status in (429, 503) else LogLevel.info,
        "{status} {problem}: {detail}",
        status=error.status,
        problem=error.problem,
        detail=error.detail,
        rquid=request.rquid,
        correlation_id=request.correlation_id,
        identity=text_of_identity(request.identity),
        **traced,
    )
