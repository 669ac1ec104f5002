"""Headers for a model, as the queue file has them: ``${NAME}`` in a value stands for a variable of the environment.

The variables are read when a provider starts, and not with the file: a gateway shares the file, and need not have them.
No text form of a value shows it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from provider_gateway.config.schema_details import any_case
from provider_gateway.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,255}")  # RFC 9110, 5.6.2
_UNSAFE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")  # RFC 9110, 5.5
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
#: Set by us, or of one connection only (RFC 9110, 7.6.1).
_NOT_SETTABLE = frozenset(
    {
        "accept-encoding", "connection", "content-encoding", "content-length", "content-type", "expect", "host",
        "keep-alive", "proxy-connection", "rquid", "te", "trailer", "transfer-encoding", "upgrade",
    }
)  # fmt: skip
_MASK = "***"
#: The JSON Schema of the mapping.
HEADERS_SCHEMA = {
    "type": "object",
    "propertyNames": {
        "pattern": f"^{_TOKEN.pattern}$",
        "not": {"pattern": f"^(?:{any_case(sorted(_NOT_SETTABLE))}$|{any_case(['pg-'])})"},
    },
    "additionalProperties": {
        "type": "string",
        # Not empty, without controls, and each ${ begins a variable.
        "pattern": r"^\s*(?=\S)(?:[^$\x00-\x08\x0a-\x1f\x7f]|\$(?!\{)|\$\{[A-Za-z_][A-Za-z0-9_]*\})*\s*$",
    },
}


@dataclass(frozen=True, slots=True)
class HeaderTemplate:
    """The value of a header before its variables are put in.

    Args:
        text: as written.
    """

    _text: str = field(repr=False)

    def __str__(self) -> str:
        """Masked: the value may be a key."""
        return _MASK

    def __repr__(self) -> str:
        """Masked as in ``str``."""
        return f"HeaderTemplate({_MASK!r})"

    @property
    def variables(self) -> set[str]:
        """The names of its variables."""
        return set(_VARIABLE.findall(self._text))

    def filled(self, variables: Mapping[str, str]) -> str:
        """The value with its variables.

        Raises:
            ValueError: a variable is not set, or its value does not fit a header. The error names the variable.
        """
        return _VARIABLE.sub(lambda match: _value_of(match[1], variables), self._text)


def _value_of(name: str, variables: Mapping[str, str]) -> str:
    # White space around a value is ignored, such as the line end of a file that a Secret was made of.
    value = variables.get(name, "").strip()
    if not value:
        msg = f"the environment variable {name} is not set"
        raise ValueError(msg)
    if not _fits(value):
        msg = f"the environment variable {name} has a character that no header may have, such as a line end"
        raise ValueError(msg)
    return value


def _fits(value: str) -> bool:
    try:
        value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return _UNSAFE.search(value) is None


def parse_headers(value: object) -> object:
    """Read a mapping of names to values.

    Returns:
        Pairs of name and :class:`HeaderTemplate`. What is no mapping is passed on.

    Raises:
        ValueError: a name or a value fits no header, or is not the user's to set. The error does not quote values.
    """
    if not isinstance(value, dict):
        if isinstance(value, tuple):  # read already
            return value
        msg = "expected a mapping of header names to values"
        raise ValueError(msg)
    pairs: dict[str, tuple[str, HeaderTemplate]] = {}
    for name, text in value.items():
        if not isinstance(name, str) or not _TOKEN.fullmatch(name):
            msg = f"expected a header name, found {_beginning(name)}"
            raise ValueError(msg)
        lowered = name.lower()
        if lowered in _NOT_SETTABLE or lowered.startswith("pg-"):
            msg = f"expected other headers than {name}, which this program sets itself"
            raise ValueError(msg)
        if lowered in pairs:
            msg = f"expected each header once, found {name} twice"
            raise ValueError(msg)
        pairs[lowered] = (name, _template(name, text))
    return tuple(pairs.values())


def _beginning(name: object) -> str:
    """What may be shown of a wrong name: where the colon is missing, or stands in quotes, a value follows the name."""
    if not isinstance(name, str):
        return repr(name)
    found = _TOKEN.match(name)
    return "none" if found is None else f"{found[0][:40]!r} and more"


def _template(name: str, text: object) -> HeaderTemplate:
    if not isinstance(text, str):
        msg = f"expected text as the value of {name} (put it in quotes)"
        raise ValueError(msg)
    text = text.strip()
    if not text or not _fits(text):
        msg = f"expected a value of {name} without line ends and control characters, that is not empty"
        raise ValueError(msg)
    if "${" in _VARIABLE.sub("", text):
        msg = f"expected variables in the value of {name} as ${{NAME}}, of letters, digits and underscores"
        raise ValueError(msg)
    return HeaderTemplate(text)


def filled_headers(
    headers: tuple[tuple[str, HeaderTemplate], ...], variables: Mapping[str, str], queue: str
) -> dict[str, str]:
    """The headers with the values of their variables.

    Args:
        queue: whose entry has them, for the error.

    Raises:
        SettingsError: a variable is not set, or its value does not fit a header.
    """
    filled: dict[str, str] = {}
    for name, template in headers:
        try:
            filled[name] = template.filled(variables)
        except ValueError as error:
            msg = f"model.headers.{name} of queue {queue!r}: {error}"
            raise SettingsError(msg) from None
    return filled
