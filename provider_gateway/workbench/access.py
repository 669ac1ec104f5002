"""Who asks, and what they may do with which parking queue. Refusals have a line in the audit log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from provider_gateway.errors import Forbidden, NotFound
from provider_gateway.parking.operators import Operator

if TYPE_CHECKING:
    from collections.abc import Collection

    from provider_gateway.parking.operators import Audit
    from provider_gateway.security.access_rules import AccessRules
    from provider_gateway.security.parking_rights import Right

RIGHTS: tuple[Right, ...] = ("read", "replay", "drop")
#: Rights by work queue.
Rights: TypeAlias = "tuple[tuple[str, tuple[Right, ...]], ...]"


class Access:
    """Knows the operators.

    Args:
        access_rules: of the access file; None without one: nobody who comes with a certificate has a right then.
        queues: the work queues that there are.
        audit: writes the audit log.
    """

    def __init__(self, access_rules: AccessRules | None, queues: Collection[str], audit: Audit) -> None:
        self._access_rules = access_rules
        self._queues = queues
        self._audit = audit

    def is_open(self, request: Any) -> bool:
        """False if parking queues and workbench are not there for a request: nobody has a right on them."""
        if request.operator is not None:
            return True
        rules = self._access_rules
        return rules is not None and request.identity is not None and rules.open_parking

    def who(self, request: Any) -> Operator | None:
        """Who has sent a request; None for somebody without any right on the queues that there are."""
        operator: Operator | None = request.operator
        if operator is None and self._access_rules is not None and request.identity is not None:
            rights = self._access_rules.parking_rights(request.identity)
            operator = Operator(str(request.identity), request.getClientAddress().host, rights)
        return (
            operator if operator is not None and any(self.rights(operator, queue) for queue in self._queues) else None
        )

    def all_rights(self, request: Any) -> Rights:
        """What the sender of a request may do, by queue; nothing if parking queues are not there for the request."""
        operator = self.who(request) if self.is_open(request) else None
        if operator is None:
            return ()
        by_queue = ((queue, tuple(self.rights(operator, queue))) for queue in self._queues)
        return tuple((queue, rights) for queue, rights in by_queue if rights)

    @staticmethod
    def rights(operator: Operator, queue: str) -> list[Right]:
        """What an operator may do with the messages that are parked for a queue."""
        return [right for right in RIGHTS if operator.may(right, queue)]

    def operator(self, request: Any) -> Operator:
        """Who has sent a request.

        Raises:
            Forbidden: somebody without any right.
        """
        operator = self.who(request)
        if operator is None:
            msg = f"The access file gives the certificate of {str(request.identity)!r} no right on a parking queue."
            raise Forbidden(msg)
        return operator

    def check(self, operator: Operator, queue: str, right: Right | None, action: str) -> None:
        """Check that somebody may do something with the messages that are parked for a queue.

        Args:
            right: that is needed; None for any.
            action: what they want to do, for the audit log.

        Raises:
            NotFound: there is no such queue, or the operator has no right on it.
            Forbidden: the operator has other rights on it.
        """
        rights = self.rights(operator, queue) if queue in self._queues else []
        if right in rights or (right is None and rights):
            return
        if queue in self._queues:
            line = {"event": "refused", "queue": queue, "id": None, "rquid": None, "message_id": None}
            who = {"operator": operator.name, "from": operator.host, "why": "", "job": None}
            self._audit({**line, **who, "action": action})
        if not rights:
            msg = "There is no such queue, or you have no right on its parking queue."
            raise NotFound(msg)
        has = ", ".join(rights)
        msg = f"This needs the right {right!r} on the parking queue of {queue!r}; {operator.name!r} has {has}."
        raise Forbidden(msg)
