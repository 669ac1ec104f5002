"""Bodies of the Open Inference Protocol: JSON, which the bytes of tensors may follow (binary tensor extension)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from provider_gateway.errors import BadRequest
from provider_gateway.gateway.media_type import UNKNOWN, AcceptedBodies, Declared
from provider_gateway.message.http_headers import JSON, JSON_SIZE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from provider_gateway.config.queue_file import QueueEntry

_SIZE = JSON_SIZE.encode()
_DIGITS = re.compile(rb"[0-9]{1,18}")
_TYPES = (JSON, UNKNOWN)


class TensorBodies(AcceptedBodies):
    """The bodies that are accepted from callers of the Open Inference Protocol for one routing key.

    The protocol says what a body is, so the ``Content-Type`` may be missing: its clients send none.
    """

    def declared(self, headers: Mapping[bytes, Sequence[bytes]]) -> Declared:
        """Read how a request declares its body.

        Raises:
            BadRequest: the size of the JSON is no number.
            UnsupportedMediaType: as for other bodies.
        """
        sizes = headers.get(_SIZE)
        if not any(each.strip() for each in headers.get(b"Content-Type", ())):
            headers = {**headers, b"Content-Type": [(JSON if sizes is None else UNKNOWN).encode()]}
        content_type, coding, *_ = super().declared(headers)
        if sizes is None:
            return Declared(content_type, coding, is_json=coding is None)
        if len(sizes) > 1 or not _DIGITS.fullmatch(sizes[0]):
            msg = f"{JSON_SIZE} is no number of bytes; send that of the JSON before the tensors, once."
            raise BadRequest(msg)
        size = int(
            sizes[0]
        )  # 0: a single tensor, without JSON. In a coded body it counts the bytes of the decoded one.
        return Declared(content_type, coding, is_json=coding is None and size > 0, json_size=size)

    def _taken(self, entry: QueueEntry) -> tuple[str, ...]:
        return _TYPES if entry.open_inference else entry.accept
