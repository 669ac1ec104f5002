"""``amqp://`` and ``amqps://`` addresses as values (RabbitMQ URI specification), with the password kept secret."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import SecretStr

DEFAULT_HEARTBEAT = 30
_PORTS = {"amqp": 5672, "amqps": 5671}


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
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'amqps' if self.tls else 'amqp'}://{login}{host}:{self.port}/{vhost}"


def parse_broker_url(text: str) -> BrokerURL:
    """Read one address.

    Args:
        text: ``amqp[s]://[user[:password]@]host[:port][/vhost][?heartbeat=seconds]``, parts percent-encoded.

    Raises:
        ValueError: the text is no such address. The error says what is expected and does not quote the text, which may
            hold a password.
    """
    unencoded = "a host and a port from 1 to 65535 after '@' (percent-encode special characters of the password)"
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError(unencoded) from None
    if parts.scheme not in _PORTS:
        msg = "amqp://… or amqps://…"
        raise ValueError(msg)
    if port == 0 or parts.fragment or "@" in parts.path + parts.query:
        # A part of the password was read as path, query or fragment: show nothing of it.
        raise ValueError(unencoded)
    if not parts.hostname:
        msg = "a host name after amqp:// or amqps://"
        raise ValueError(msg)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    heartbeat = query.pop("heartbeat", str(DEFAULT_HEARTBEAT))
    if query:
        msg = "no parameter but heartbeat after '?'"
        raise ValueError(msg)
    if not (heartbeat.isascii() and heartbeat.isdigit()) or not 1 <= int(heartbeat) <= 65535:
        msg = "heartbeat as seconds from 1 to 65535"
        raise ValueError(msg)
    return BrokerURL(
        host=parts.hostname,
        port=port or _PORTS[parts.scheme],
        tls=parts.scheme == "amqps",
        user=None if parts.username is None else unquote(parts.username),
        password=SecretStr(unquote(parts.password or "")),
        virtual_host=unquote(parts.path[1:]) or "/",
        heartbeat=int(heartbeat),
    )


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
