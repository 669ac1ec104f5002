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


def parse_model_url(text: str) -> MaskedURL:
    """Read the URL of the model.

    Raises:
        ValueError: the text is no such URL. The error does not quote it.
    """
    if not re.fullmatch(r"https?://[^/@?#\s]+([/?][^\s#]*)?", text):
        msg = "http://… or https://…, without user, password and fragment"
        raise ValueError(msg)
    return MaskedURL(text)


def parse_model_path(text: str) -> MaskedURL:
    """Read the path of the model's URL.

    Raises:
        ValueError: the text is no path. The error does not quote it.
    """
    if not re.fullmatch(r"/[^\s#]*", text):
        msg = "a path that begins with /"
        raise ValueError(msg)
    return MaskedURL(text)
