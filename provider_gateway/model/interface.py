"""What the provider wants of a model, whatever protocol the model speaks; and what is needed to call one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from twisted.internet.defer import Deferred

    from provider_gateway.clocks import WallClock
    from provider_gateway.config.masked_url import MaskedURL
    from provider_gateway.config.model_entry import Protocol as SpokenProtocol
    from provider_gateway.message.message import Message
    from provider_gateway.model.model import ModelResponse
    from provider_gateway.model.model_errors import ModelErrors


class CallsModel(Protocol):
    """Calls one model. :class:`provider_gateway.model.model.Model` does it over HTTP."""

    async def call(
        self,
        message: Message,
        rquid: str,
        timeout: float,
        room: Callable[[int], Deferred[None] | None] = ...,
        *,
        may_repeat: bool = ...,
    ) -> ModelResponse:
        """Send a message's body to the model; see :meth:`provider_gateway.model.model.Model.call`."""
        ...


class AsksReadiness(Protocol):
    """Asks whether a model takes calls. :class:`provider_gateway.model.readiness.Readiness` does it over HTTP.

    Attributes:
        where: names what is asked.
    """

    where: object

    async def is_ready(self) -> bool:
        """Ask. A change is logged."""
        ...

    async def why_not(self) -> str | None:
        """Ask, without a line in the log; None if the model is ready, else the reason why not."""
        ...


class Finding(NamedTuple):
    """What a check finds.

    Attributes:
        text: one line.
        is_wrong: no call can succeed until somebody changes something.
    """

    text: str
    is_wrong: bool = False


class ChecksModel(Protocol):
    """Finds out if calls can succeed, without one; over HTTP, :class:`provider_gateway.model.path_check.PathCheck`."""

    async def find(self) -> Finding:
        """Ask. A model that cannot be reached is a finding, too."""
        ...


@dataclass(frozen=True, slots=True)
class ModelTarget:
    """What is needed to call one model.

    Attributes:
        queues: that it serves, for logs and errors.
        url: where to send every call.
        protocol: what the model speaks.
        name: the model's name; None if it has none.
        ready_url: what to ask whether it is ready; None for nothing, or what the protocol has.
        tls: a :class:`provider_gateway.security.tls.ClientTLS`, loaded again when its files change.
        headers: sent with every call, in place of a message's header of that name. They may hold secrets.
        connections: calls at a time, at most.
        max_body_bytes: limit of a response's body.
        wall_clock: has the date.
        on_unsafe_header: called for each header of a message that is malformed. It is not sent.
        errors: tells what the model says about its errors. It knows what is secret.
    """

    queues: tuple[str, ...]
    url: MaskedURL
    protocol: SpokenProtocol
    name: str | None
    ready_url: MaskedURL | None
    tls: Any
    headers: Mapping[str, str] = field(repr=False)
    connections: int
    max_body_bytes: int
    wall_clock: WallClock
    on_unsafe_header: Callable[[], object]
    errors: ModelErrors


@dataclass(frozen=True, slots=True)
class ConnectedModel:
    """A model that can be called.

    Attributes:
        model: makes the calls.
        readiness: says whether it takes calls; None if that cannot be asked.
        check: finds out if calls can succeed; None if that cannot be asked.
        where: where calls go.
        close: closes what stays open between calls.
    """

    model: CallsModel
    readiness: AsksReadiness | None
    check: ChecksModel | None
    where: MaskedURL
    close: Callable[[], None] = lambda: None
