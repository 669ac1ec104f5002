"""``--openapi``: the OpenAPI document of the HTTPS listener, as text."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from provider_gateway.config.found_files import check_variables, find_queues, find_variables, load_named_settings
from provider_gateway.gateway.api import API
from provider_gateway.gateway.api_document import api_document
from provider_gateway.gateway.offer import Offer
from provider_gateway.openapi.document import routes_of

if TYPE_CHECKING:
    from pathlib import Path


def openapi_text(env_file: Path | None, queues: Path | None) -> str:
    """The document for a caller who may use all that the settings and the queue file offer.

    Neither a broker nor certificates are needed for it. Webhooks are left out: which there are depends on the caller.

    Args:
        env_file: ``--env-file``; None without it.
        queues: ``--queues``; likewise.

    Raises:
        SettingsError: a setting or the queue file is wrong.
    """
    variables = find_variables(env_file)
    broker = {} if variables.get("RMQ_URL") else {"rmq_url": "amqp://localhost/"}
    settings = load_named_settings(env_file, **broker)
    entries, _ = find_queues(queues, settings)
    check_variables(variables, entries)
    document = api_document(routes_of(API.app), Offer.of(settings, entries))
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
