"""A model that speaks the interface of the seed's documents: ``mlserving.BaseModelInterface/Predict``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError

from provider_gateway.errors import ModelFailure, ModelUnreachable
from provider_gateway.grpc_model.caller import take_room
from provider_gateway.grpc_model.messages import HealthCheckResponse, ModelInterfaceRequest, ModelInterfaceResponse
from provider_gateway.grpc_model.metadata import to_metadata
from provider_gateway.grpc_model.sent_headers import coding_of, sent_content_type, sent_headers
from provider_gateway.grpc_model.statuses import too_large
from provider_gateway.message.http_headers import JSON
from provider_gateway.message.ids import RQUID
from provider_gateway.model.model import ModelResponse
from provider_gateway.model.readiness import AskedReadiness

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from twisted.internet.defer import Deferred

    from provider_gateway.grpc_model.caller import Caller
    from provider_gateway.message.message import Message

_HEALTH = "/grpc.health.v1.Health/Check"
_SERVING = 1
_PREDICT = "/mlserving.BaseModelInterface/Predict"


class MLServingModel:
    """The model on one server. A request's ``details`` are the headers that HTTP would have, and ``data`` is the body.

    Args:
        headers: sent with each call, in ``details`` in place of a message's header of that name, and as metadata.
        on_unsafe_header: called for each header of a message that cannot be sent.
    """

    def __init__(
        self, caller: Caller, *, headers: Mapping[str, str], on_unsafe_header: Callable[[], object] = lambda: None
    ) -> None:
        self._caller = caller
        self._headers = dict(headers)
        self._on_unsafe_header = on_unsafe_header

    async def call(
        self,
        message: Message,
        rquid: str,
        timeout: float,
        room: Callable[[int], Deferred[None] | None] = lambda _: None,
        *,
        may_repeat: bool = False,  # noqa: ARG002 - gRPC itself repeats a request that no server has seen
    ) -> ModelResponse:
        """Predict (:meth:`provider_gateway.model.model.Model.call`).

        Raises:
            UnsupportedMediaType: the message's ``content_encoding`` is malformed. The model was not called.
        """
        coding = coding_of(message)
        details = {"Content-Type": sent_content_type(message)}
        if coding is not None:
            details["Content-Encoding"] = coding
        for name, value in sent_headers(message, rquid, self._headers, self._on_unsafe_header).items():
            try:
                value.encode()
            except UnicodeEncodeError:  # bytes that are not UTF-8: protobuf's texts have none
                self._on_unsafe_header()
            else:
                details[name] = value
        request = ModelInterfaceRequest(details=details, data=message.body).SerializeToString()
        metadata = to_metadata({**self._headers, RQUID: rquid}, self._on_unsafe_header)
        found = await self._caller.call(_PREDICT, request, metadata, timeout)
        if isinstance(found, ModelResponse):
            return found
        encoded, headers = found
        try:
            body = ModelInterfaceResponse.FromString(encoded).data
        except DecodeError:
            msg = "The model's answer is malformed: it is no ModelInterfaceResponse."
            raise ModelFailure(msg, "body") from None
        if len(body) > self._caller.max_body_bytes:
            raise too_large(self._caller.max_body_bytes)
        await take_room(room, len(body))
        return ModelResponse(200, body, JSON, headers)


class MLServingReadiness(AskedReadiness):
    """Whether there is a connection: the interface has no method that asks the model.

    gRPC's own health service is asked, so that there is one. A server without that service has answered, too.
    """

    def __init__(self, clock: Any, where: object, caller: Caller) -> None:
        super().__init__(clock, where)
        self._caller = caller

    async def reason(self) -> str | None:
        """Ask; returns why there is no connection, or that the server says that it does not serve."""
        try:
            answer = await self._caller.answer(_HEALTH, b"", (), self.seconds)
        except ModelUnreachable as error:
            return f"{error.detail} {error.cause}"
        except ModelFailure:
            return None  # there is a connection, and the server is busy
        if answer.code == "UNAVAILABLE":
            return self._caller.said(answer.details)
        is_serving = answer.code != "OK" or HealthCheckResponse.FromString(answer.body).status == _SERVING
        return None if is_serving else "its health service says that it does not serve"
