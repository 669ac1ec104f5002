"""``sqlite://`` and ``postgresql://`` addresses of the result store as values, with passwords kept secret."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

#: A URL (RFC 3986, appendix B).
_URL = re.compile(r"([A-Za-z]+)://([^/?#]*)([^?#]*)(?:\?([^#]*))?(#.*)?", re.DOTALL)
_SCHEMES = {"sqlite": "sqlite", "postgresql": "postgresql", "postgres": "postgresql"}
_CONTROL = re.compile(r"[\0-\x1f\x7f]")
#: A host of an authority with its port; both may be missing.
_HOST = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*)(:[0-9]*)?")


def _masked(parameter: str) -> str:
    """A parameter of the query, without its value if that is a secret (``password``, ``sslpassword``)."""
    name, _, _ = parameter.partition("=")
    return f"{name}=***" if "pass" in unquote(name).lower() else parameter


@dataclass(frozen=True, slots=True)
class StoreURL:
    """The address of a result store.

    Attributes:
        path: the file of SQLite, an absolute path; None for PostgreSQL.
    """

    path: Path | None
    _url: str = field(repr=False)

    def reveal(self) -> str:
        """The whole URL as libpq reads it, for the connection itself."""
        return self._url

    def __str__(self) -> str:
        """The URL with its passwords masked."""
        url, mark, query = self._url.partition("?")
        masked = re.sub(r"^([^/]*//[^/:@]*):[^/]*@", r"\1:***@", url)
        return masked + mark + "&".join(map(_masked, query.split("&")))

    def __repr__(self) -> str:
        """Masked as in ``str``."""
        return f"StoreURL({str(self)!r})"


def parse_store_url(text: str) -> StoreURL:
    """Read an address.

    Args:
        text: ``sqlite:///path/of/file`` or ``postgresql://[user[:password]@][host[:port]][/database][?parameters]``, as
            libpq reads it: several hosts and every parameter of a connection are possible.

    Raises:
        ValueError: the text is no such address. The error says what is expected and does not quote the text, which may
            hold a password.
    """
    text = text.strip()
    match = _URL.fullmatch(text)
    if match is None or match[1].lower() not in _SCHEMES:
        msg = "sqlite:///path/results.db or postgresql://…"
        raise ValueError(msg)
    if _CONTROL.search(text):
        msg = "no line ends and no control characters inside (percent-encode them)"
        raise ValueError(msg)
    scheme, authority, path, query, fragment = match.groups("")
    if _SCHEMES[scheme.lower()] == "sqlite":
        return _sqlite(authority, path, is_plain=not query and not fragment)
    if fragment or "@" in path:
        # A part of the password was read as path or fragment.
        msg = "a host and a port after '@' (percent-encode special characters of user and password)"
        raise ValueError(msg)
    if authority.count("@") > 1:
        msg = "one '@' (percent-encode special characters of user and password)"
        raise ValueError(msg)
    if not all(_HOST.fullmatch(host) for host in authority.rpartition("@")[2].split(",")):
        msg = "hosts with ports, as in postgresql://user:password@host:5432/db (percent-encode special characters)"
        raise ValueError(msg)
    if not all("=" in parameter for parameter in query.split("&") if query):
        msg = "name=value after '?' (percent-encode special characters of user and password)"
        raise ValueError(msg)
    return StoreURL(None, f"postgresql://{text.partition('://')[2]}")


def _sqlite(authority: str, path: str, *, is_plain: bool) -> StoreURL:
    if authority:
        msg = "three slashes and an absolute path, as in sqlite:///data/results.db"
        raise ValueError(msg)
    if not is_plain:
        msg = "a path alone: no '?' and no '#' (percent-encode them)"
        raise ValueError(msg)
    try:
        name = unquote(path, errors="strict")
        name.encode()
    except UnicodeError:
        msg = "a path in UTF-8, percent-encoded"
        raise ValueError(msg) from None
    if _CONTROL.search(name) or name.endswith("/") or name.lstrip("/") in {"", ":memory:", ".", ".."}:
        msg = "the path of a file, as in sqlite:///data/results.db"
        raise ValueError(msg)
    # SQLAlchemy writes absolute paths with four slashes.
    absolute = "/" + name.lstrip("/")
    return StoreURL(Path(absolute), f"sqlite://{absolute}")
