"""What a caller prefers (``Prefer``, RFC 7240): to be answered at once, or to wait for so many seconds."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from provider_gateway.message.http_headers import list_members, text_of

if TYPE_CHECKING:
    from collections.abc import Iterable

#: A preference: a name, maybe with a value, and parameters, which none of ours has (RFC 7240, 2).
_PREFERENCE = re.compile(
    r"""([!#$%&'*+.^_`|~0-9A-Za-z-]+) (?:[ \t]*=[ \t]* (?: ([!#$%&'*+.^_`|~0-9A-Za-z-]+) | "((?:[^"\\]|\\.)*)" ))?"""
    r"[ \t]* (?:;.*)?",
    re.VERBOSE | re.DOTALL,
)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
#: Of a number with more digits only the size matters: whoever uses it has a limit.
_DIGITS = 9


class Preferences(NamedTuple):
    """The preferences that we know.

    Attributes:
        respond_async: answer without waiting, unless :attr:`wait` says how long.
        wait: seconds to wait for the answer; None if that was not said.
    """

    respond_async: bool
    wait: int | None

    @property
    def is_async(self) -> bool:
        """True if the caller takes 202 for an answer."""
        return self.respond_async or self.wait is not None


def preferences(values: Iterable[bytes]) -> Preferences:
    """The preferences in ``Prefer`` headers.

    Names may be in any case, and the first one of a name counts. What is malformed or unknown is ignored.

    Args:
        values: of all of them.
    """
    found: dict[str, str] = {}
    for value in values:
        for member in list_members(text_of(value)):
            match = _PREFERENCE.fullmatch(member)
            if match is not None:
                name, token, quoted = match.groups()
                found.setdefault(name.lower(), token or _ESCAPED.sub(r"\1", quoted or ""))
    return Preferences(found.get("respond-async") == "", _seconds(found.get("wait", "")))


def _seconds(value: str) -> int | None:
    """Whole seconds (RFC 9110, 10.2.3: delta-seconds); None if the text is no such number."""
    if not (value.isascii() and value.isdigit()):
        return None
    digits = value.lstrip("0")
    return int(digits or "0") if len(digits) <= _DIGITS else 10**_DIGITS
