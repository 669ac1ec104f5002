"""URLs whose query may hold a key: shown without it, by whatever shows them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class MaskedURL:
    """A URL, or the path of one.

    Args:
        url: all of it.
    """

    _url: str = field(repr=False)

    def reveal(self) -> str:
        """All of it, for the one who is to be asked."""
        return self._url

    def __str__(self) -> str:
        """The URL without its query."""
        return re.sub(r"\?.*", "?***", self._url, flags=re.DOTALL)

    def __repr__(self) -> str:
        """As in ``str``."""
        return f"MaskedURL({str(self)!r})"


def parse_model_url(text: str) -> MaskedURL:
    """Read the URL of the model.

    Raises:
        ValueError: it is none; does not quote it.
    """
    if not re.fullmatch(r"https?://[^/@?#\s]+([/?][^\s#]*)?", text):
        msg = "http://… or https://…, without user, password and fragment"
        raise ValueError(msg)
    return MaskedURL(text)


def parse_model_path(text: str) -> MaskedURL:
    """Read the path of the model's URL.

    Raises:
        ValueError: it is none; does not quote it.
    """
    if not re.fullmatch(r"/[^\s#]*", text):
        msg = "a path that begins with /"
        raise ValueError(msg)
    return MaskedURL(text)
