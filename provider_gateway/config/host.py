"""Hosts of URLs and variables: checked, and brought into the one form that sockets, TLS and HTTP take."""

from __future__ import annotations

import contextlib
import re
import socket
from ipaddress import IPv6Address
from typing import NamedTuple

import idna

#: A part of a name. Underscores are no part of host names (RFC 952), but Compose, Active Directory and others use them.
_LABEL = re.compile(r"[a-z0-9_-]{1,63}")
#: What stands for a dot in some scripts (UTS 46, 4).
_DOTS = re.compile("[.\u3002\uff0e\uff61]")
_MAX_NAME = 253
#: An IPv4 address in any form that the C library reads, such as 127.1; without leading zeros: some programs read 010 as
#: eight, others as ten.
_NUMBER = r"(?:0x[0-9a-f]+|0|[1-9][0-9]*)"
_IPV4 = re.compile(rf"{_NUMBER}(?:\.{_NUMBER}){{0,3}}")
#: What is meant to be an IPv4 address.
_NUMERIC = re.compile(r"(?:0x[0-9a-f]*|[0-9]+)(?:\.(?:0x[0-9a-f]*|[0-9]*))*")

_A_HOST = "a host name or an address alone, such as model, 10.0.0.7 or ::1"


class Authority(NamedTuple):
    """The part of a URL between ``//`` and the path (RFC 3986, 3.2).

    Attributes:
        userinfo: as written; None if there is none.
        host: from :func:`parse_host`.
        port: None if there is none.
    """

    userinfo: str | None
    host: str
    port: int | None


def parse_host(text: str, *, zone: bool = False) -> str:
    """Read a host: a name in any script, an IPv4 address, or an IPv6 address with or without brackets.

    Args:
        zone: an IPv6 address may have a zone, as in ``fe80::1%eth0``.

    Returns:
        The name in lower case and ASCII, or the address in its usual form, without brackets.

    Raises:
        ValueError: the text is no host. The error says what is expected, and does not quote the text.
    """
    if text.startswith("[") and text.endswith("]"):
        return _ipv6(text[1:-1], zone=zone)
    if "://" in text or "/" in text:
        msg = f"{_A_HOST}, without scheme and path"
        raise ValueError(msg)
    if "@" in text:
        msg = f"{_A_HOST}, without user and password"
        raise ValueError(msg)
    if text.count(":") == 1:
        msg = f"{_A_HOST}, without a port"
        raise ValueError(msg)
    if ":" in text:
        return _ipv6(text, zone=zone)
    name = _name(text)
    return _ipv4(name) if _NUMERIC.fullmatch(name) else name


def parse_authority(text: str) -> Authority:
    """Read the authority of a URL. A user and a password stay percent-encoded.

    Raises:
        ValueError: it has no host, or one that is none, or a port that is none. The error does not quote the text.
    """
    before, at, host_and_port = text.rpartition("@")
    match = re.fullmatch(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::([0-9]*))?", host_and_port, re.DOTALL)
    if match is None:
        msg = "a host and a port from 1 to 65535, an IPv6 address in brackets as in [::1]"
        raise ValueError(msg)
    host, port = match.groups()
    if port and not (len(port) <= 5 and 1 <= int(port) <= 65535):
        msg = "a port from 1 to 65535"
        raise ValueError(msg)
    return Authority(before if at else None, parse_host(host), int(port) if port else None)


def bracketed(host: str) -> str:
    """The host as it stands before a port: an IPv6 address in brackets (RFC 3986, 3.2.2)."""
    return f"[{host}]" if ":" in host else host


def _ipv6(text: str, *, zone: bool) -> str:
    if "%" in text and not zone:
        msg = "an IPv6 address without a zone (the part from % on): URLs have none (RFC 3986, 3.2.2)"
        raise ValueError(msg)
    try:
        return str(IPv6Address(text))
    except ValueError:
        msg = "an IPv6 address, such as ::1"
        raise ValueError(msg) from None


def _ipv4(text: str) -> str:
    if _IPV4.fullmatch(text):
        with contextlib.suppress(OSError):
            return socket.inet_ntoa(socket.inet_aton(text))
    msg = "an IPv4 address as four numbers without leading zeros, such as 10.0.0.7"
    raise ValueError(msg)


def _name(text: str) -> str:
    labels = _DOTS.split(text)
    is_absolute = len(labels) > 1 and not labels[-1]  # a name with a dot at its end is looked up as it stands
    try:
        labels = [_label(each) for each in (labels[:-1] if is_absolute else labels)]
    except ValueError:
        msg = f"{_A_HOST}: parts of 1 to 63 letters, digits, hyphens or underscores, with dots between them"
        raise ValueError(msg) from None
    name = ".".join(labels)
    if len(name) > _MAX_NAME:
        msg = f"a host name of at most {_MAX_NAME} characters"
        raise ValueError(msg)
    return f"{name}." if is_absolute else name


def _label(text: str) -> str:
    # Of names in ASCII, idna would refuse underscores, and hyphens where resolvers and certificates have them.
    label = text.lower() if text.isascii() else idna.encode(text, uts46=True).decode("ascii")
    if not _LABEL.fullmatch(label):
        raise ValueError
    return label
