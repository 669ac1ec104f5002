"""The error about a body that is no request of a model's protocol."""

from __future__ import annotations

from provider_gateway.errors import Unsendable


class InvalidInference(Unsendable):
    """The body is no inference request of the Open Inference Protocol, so it cannot be sent by gRPC."""

    status, problem, title = 400, "invalid-inference", "The body is no inference request"
    reason = problem
