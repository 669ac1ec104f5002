"""``--openapi``: the OpenAPI document of the HTTPS listener, as text."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from provider_gateway.config.found_files import check_variables, find_queues, find_variables, load_named_settings
from provider_gateway.gateway.api import API
from provider_gateway.gateway.api_document import api_document
from provider_gateway.gateway.offer import Offer
from provider_gateway.parking.places import places_of
from provider_gateway.security.access_rules import read_rules
from provider_gateway.workbench.access import RIGHTS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from provider_gateway.config.queue_file import QueueEntry
    from provider_gateway.config.settings import Settings
    from provider_gateway.workbench.access import Rights


def openapi_text(env_file: Path | None, queues: Path | None) -> str:
    """The document for a caller who may use all that the settings and the queue file offer.

    Neither a broker nor certificates are needed for it. Webhooks are left out: which there are depends on the caller.
    Parked messages are in it if the access file gives somebody a right on them.

    Args:
        env_file: ``--env-file``; None without it.
        queues: ``--queues``; likewise.

    Raises:
        SettingsError: a setting, the queue file or the access file is wrong.
    """
    variables = find_variables(env_file)
    broker = {} if variables.get("RMQ_URL") else {"rmq_url": "amqp://localhost/"}
    settings = load_named_settings(env_file, **broker)
    entries, _ = find_queues(queues, settings)
    check_variables(variables, entries)
    document = api_document(API.routes(), Offer.of(settings, entries, parking=_parking(settings, entries)))
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _parking(settings: Settings, entries: Sequence[QueueEntry]) -> Rights:
    """All rights on all parking queues, if the access file gives somebody one."""
    if settings.http_access is None or not any(rule.parking for rule in read_rules(settings.http_access)):
        return ()
    return tuple((queue, RIGHTS) for queue in places_of(entries, webhooks=settings.result_store is not None))
