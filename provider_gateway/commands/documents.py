"""Parked messages, looks and jobs as lines of JSON, for scripts: the documents of the HTTP interface. Pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec

from provider_gateway.workbench.documents import (
    job_document,
    look_document,
    message_document,
    summary_document,
    text_or_base64,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provider_gateway.parking.jobs import JobDocument
    from provider_gateway.parking.looks import Look
    from provider_gateway.parking.parked_message import ParkedMessage


#: Takes a fifth of the time of ``json``, but leaves letters and the control character DEL as they are.
_encode = msgspec.json.Encoder().encode
_DEL = b"\x7f"


def line(document: Mapping[str, Any]) -> str:
    """A document as one line of printable ASCII: no terminal and no program takes it for anything else."""
    encoded = _encode(document)
    if not encoded.isascii() or _DEL in encoded:
        return json.dumps(document, separators=(",", ":")) + "\n"
    return encoded.decode() + "\n"


def listed(queue: str, message: ParkedMessage) -> dict[str, Any]:
    """A message as a list shows it: without headers and body, which are read with ``show`` and ``export``."""
    return {"queue": queue, **summary_document(message)}


def whole(queue: str, message: ParkedMessage, body: bytes) -> dict[str, Any]:
    """A message with headers and body."""
    document = message_document(message, whole=True)
    del document["preview"]
    return {"queue": queue, **document, "body": text_or_base64(body, is_cut=False)}


def looked(look: Look) -> dict[str, Any]:
    """What was found in a queue, by reason, without the messages."""
    document, _ = look_document(look, whole=False)
    document["messages"] = document.pop("total")
    return document


def ended(job: JobDocument) -> dict[str, Any]:
    """What a job has done."""
    document = job_document(job)
    del document["links"]
    return document
