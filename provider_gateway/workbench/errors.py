"""Errors of the workbench's HTTP interface: status and problem type."""

from __future__ import annotations

from provider_gateway.errors import GatewayError, Unavailable


class CrossSite(GatewayError):
    """A page of another origin has made the request."""

    status, problem, title = 403, "cross-site", "Not allowed from a page of another origin"


class CountNeeded(GatewayError):
    """Messages are to be dropped by a filter, and the request does not say how many its sender saw."""

    status, problem, title = 428, "count-needed", "The number of messages is needed"


class AuditLogUnwritable(Unavailable):
    """The audit log cannot be written. Without its line, nothing is done."""

    problem, title, retry_after = "audit-log-unwritable", "The audit log cannot be written", 30
