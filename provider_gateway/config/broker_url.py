"""``amqp://`` and ``amqps://`` addresses as values (RabbitMQ URI specification), with the password kept secret."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote

from pydantic import SecretStr

from provider_gateway.config.host import bracketed, parse_authority

DEFAULT_HEARTBEAT = 30
_PORTS = {"amqp": 5672, "amqps": 5671}
#: A URL (RFC 3986, appendix B). Python's own parser removes line ends without a word.
_URL = re.compile(r"([A-Za-z]+)://([^/?#]*)([^?#]*)(?:\?([^#]*))?(#.*)?", re.DOTALL)
_CONTROL = re.compile(r"[\0-\x1f\x7f]")
#: Most bytes of a virtual host's name (AMQP 0-9-1, 4.2.5.3).
_MAX_VIRTUAL_HOST = 255


@dataclass(frozen=True, slots=True)
class BrokerURL:
    """One broker address.

    Attributes:
        user: None if the address has none.
        heartbeat: seconds of silence after which the peer counts as dead; the broker may ask for less.
    """

    host: str
    port: int
    tls: bool
    user: str | None
    password: SecretStr
    virtual_host: str = "/"
    heartbeat: int = DEFAULT_HEARTBEAT

    def __str__(self) -> str:
        """The address with the password masked."""
        login = f"{self.user}:***@" if self.user is not None else ""
        vhost = "" if self.virtual_host == "/" else self.virtual_host
        return f"{'amqps' if self.tls else 'amqp'}://{login}{bracketed(self.host)}:{self.port}/{vhost}"


def parse_broker_url(text: str) -> BrokerURL:
    """Read one address.

    Args:
        text: ``amqp[s]://[user[:password]@]host[:port][/vhost][?heartbeat=seconds]``, parts percent-encoded.

    Raises:
        ValueError: the text is no such address. The error says what is expected and does not quote the text, which may
            hold a password.
    """
    match = _URL.fullmatch(text)
    if match is None or match[1].lower() not in _PORTS:
        msg = "amqp://… or amqps://…"
        raise ValueError(msg)
    if _CONTROL.search(text):
        msg = "no line ends and no control characters inside (percent-encode them)"
        raise ValueError(msg)
    scheme, authority, path, query, fragment = match.groups("")
    if fragment or "@" in path + query:
        # A part of the password was read as path, query or fragment: show nothing of it.
        msg = "a host and a port after '@' (percent-encode special characters of user and password)"
        raise ValueError(msg)
    if re.fullmatch(r"(:[0-9]*)?", authority.rpartition("@")[2]):
        msg = "a host name after amqp:// or amqps://"
        raise ValueError(msg)
    try:
        userinfo, host, port = parse_authority(authority)
    except ValueError as error:
        msg = f"{error} (percent-encode special characters of user and password)"
        raise ValueError(msg) from None
    parameters = dict(parse_qsl(query, keep_blank_values=True))
    heartbeat = parameters.pop("heartbeat", str(DEFAULT_HEARTBEAT))
    if parameters:
        msg = "no parameter but heartbeat after '?'"
        raise ValueError(msg)
    if not (heartbeat.isascii() and heartbeat.isdigit()) or not 1 <= int(heartbeat) <= 65535:
        msg = "heartbeat as seconds from 1 to 65535"
        raise ValueError(msg)
    user, _, password = (userinfo or "").partition(":")
    virtual_host = _decoded(path[1:])
    if len(virtual_host.encode()) > _MAX_VIRTUAL_HOST:
        msg = f"a virtual host of at most {_MAX_VIRTUAL_HOST} bytes"
        raise ValueError(msg)
    return BrokerURL(
        host=host,
        port=port or _PORTS[scheme.lower()],
        tls=scheme.lower() == "amqps",
        user=None if userinfo is None else _decoded(user),
        password=SecretStr(_decoded(password)),
        virtual_host=virtual_host or "/",
        heartbeat=int(heartbeat),
    )


def _decoded(text: str) -> str:
    """Decode a part of the URL.

    Raises:
        ValueError: its text cannot be sent.
    """
    try:
        decoded = unquote(text, errors="strict")
        decoded.encode()
    except UnicodeError:
        msg = "user, password and virtual host as UTF-8, percent-encoded"
        raise ValueError(msg) from None
    if "\0" in decoded:
        msg = "user, password and virtual host without %00"
        raise ValueError(msg)
    return decoded


def parse_broker_urls(text: str) -> tuple[BrokerURL, ...]:
    """Read one address or several, separated by commas.

    Raises:
        ValueError: an address is wrong, or there is none.
    """
    urls = tuple(parse_broker_url(part.strip()) for part in text.split(",") if part.strip())
    if not urls:
        msg = "at least one address, such as amqps://rabbitmq:5671/"
        raise ValueError(msg)
    return urls
