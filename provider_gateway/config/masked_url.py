"""URLs whose query may hold a key: no text form of the value shows the query."""

from __future__ import annotations

import re
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class MaskedURL:
    """A URL, or the path of one.

    Args:
        url: the whole URL.
    """

    _url: str = field(repr=False)

    def reveal(self) -> str:
        """The whole URL, for the request itself."""
        return self._url

    def __str__(self) -> str:
        """The URL without its query."""
        return re.sub(r"\?.*", "?***", self._url, flags=re.DOTALL)

    def __repr__(self) -> str:
        """Masked as in ``str``."""
        return f"MaskedURL({str(self)!r})"
