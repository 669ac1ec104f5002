"""The rights on parking queues that the access file can give."""

from __future__ import annotations

from typing import Literal

#: ``read``: messages with headers and body. ``replay`` and ``drop`` let their holder see, without headers and bodies,
#: what there is to replay or drop.
Right = Literal["read", "replay", "drop"]
