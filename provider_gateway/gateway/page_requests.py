"""What the page is told of requests to models: who may send which, and whose results there are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from provider_gateway.gateway.admission import owner_of
from provider_gateway.topology.routing import matching_key
from provider_gateway.workbench.pages import Requests

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provider_gateway.config.queue_file import QueueEntry
    from provider_gateway.gateway.admission import Admission
    from provider_gateway.results.results import Results
    from provider_gateway.store.records import Record


def page_requests(entries: Sequence[QueueEntry], admission: Admission, results: Results | None) -> Requests:
    """What the page is told.

    Args:
        entries: of the queue file.
        admission: knows who may use which routing key.
        results: the requests whose answers are kept; None without a result store.
    """

    def keys(request: Any) -> list[str]:
        usual = dict.fromkeys(entry.path_key or matching_key(entry) for entry in entries)
        return [key for key in usual if key and admission.may_use(request, key)]

    async def newest(owner: str, limit: int, after: str | None) -> Sequence[Record]:
        assert results is not None, "asked for with a store only"
        return await results.list(owner, status=None, limit=limit, after=after)

    return Requests(
        keys=keys,
        types=sorted({kind for entry in entries for kind in entry.accept if "*" not in kind}) or ["application/json"],
        owner=owner_of,
        results=None if results is None else newest,
        may_use=admission.may_use,
    )
