"""``GET /v1/models``: what callers are told of the models that they may use. Nothing tells where a model is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from provider_gateway.http_server.problems import with_length
from provider_gateway.message.http_headers import JSON

if TYPE_CHECKING:
    from collections.abc import Iterable

    from provider_gateway.config.queue_file import QueueEntry
    from provider_gateway.gateway.admission import Admission

#: The path of the list.
MODELS = "/v1/models"


def _described(entry: QueueEntry) -> dict[str, object]:
    """An entry as its callers see it. Where its model is, and what the model is told, is not their business."""
    name = entry.model.name if entry.model is not None else None
    return {
        "name": name if name is not None else entry.queue_name,
        "paths": list(entry.paths),
        "routing_key": entry.path_key,
        "routing_keys": list(entry.taken_keys),
        "accept": list(entry.accept),
        "open_inference": entry.open_inference,
    }


class ModelList:
    """The models of the queue file.

    Args:
        admission: knows who may use which routing key.
    """

    def __init__(self, entries: Iterable[QueueEntry], admission: Admission) -> None:
        self._described = [(entry, _described(entry)) for entry in entries]
        self._admission = admission

    def answer(self, request: Any) -> bytes:
        """List the models that the caller may use, in the order of the queue file. Nothing is counted for a rate.

        Raises:
            BadRequest: the RqUID is malformed.
            Unavailable: the process drains, or too many requests are in flight.
        """
        self._admission.enter(request)
        try:
            models = [described for entry, described in self._described if self._admission.may_use_any(request, entry)]
        finally:
            self._admission.in_flight -= 1
        return with_length(request, JSON, json.dumps({"models": models}).encode())
