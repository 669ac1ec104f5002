"""Finds out if a model answers by gRPC, without a call of the model, for ``--check --connect``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provider_gateway.model.interface import Finding

if TYPE_CHECKING:
    from provider_gateway.model.readiness import AskedReadiness

#: Ends of what a server says that is only not ready for now. That is no mistake.
_LATER = ("not ready", "does not serve")


class AnswerCheck:
    """The question to one model.

    Args:
        readiness: asks by gRPC, whatever ready URL the model has.
    """

    def __init__(self, readiness: AskedReadiness) -> None:
        self._readiness = readiness

    async def find(self) -> Finding:
        """Ask. No connection, no such service and no such model are mistakes."""
        reason = await self._readiness.why_not()
        if reason is None:
            return Finding("answers by gRPC")
        return Finding(f"answers by gRPC: {reason}") if reason.endswith(_LATER) else Finding(reason, is_wrong=True)
