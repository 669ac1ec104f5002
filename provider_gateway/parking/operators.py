"""Who works on parking queues, and the audit line of each message that somebody acted on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from provider_gateway.parking.parked_message import ParkedMessage

#: Writes one line of the audit log. It returns when the line is written, and adds the time. If it raises, the message
#: is left as it is: nobody acts on a message without a line.
Audit = Callable[[Mapping[str, object]], None]

RIGHTS = frozenset({"read", "replay", "drop"})


@dataclass(frozen=True, slots=True)
class Operator:
    """Somebody who looks into parking queues.

    Attributes:
        name: the identity, or the name of the user on the machine.
        host: from where: an address, or the machine's name.
        rights: by work queue, or ``*`` for all: ``read``, ``replay``, ``drop``.
    """

    name: str
    host: str
    rights: Mapping[str, frozenset[str]] = field(default_factory=lambda: {"*": RIGHTS})

    def may(self, right: str, queue: str) -> bool:
        """True if the operator has a right on the parking queue of a work queue."""
        return right in self.rights.get(queue, frozenset()) or right in self.rights.get("*", frozenset())


def audit_line(
    event: str, queue: str, operator: Operator, message: ParkedMessage, *, why: str = "", job: str | None = None
) -> dict[str, Any]:
    """The fields of an audit line.

    Args:
        event: ``replayed``, ``dropped``, ``shown`` or ``exported``.
        queue: the work queue's name.
        why: what the operator gave as the reason.
        job: id of the job; None for none.
    """
    return {
        "event": event,
        "queue": queue,
        "id": message.id,
        "rquid": message.rquid,
        "message_id": message.message_id,
        "operator": operator.name,
        "from": operator.host,
        "why": why,
        "job": job,
    }
