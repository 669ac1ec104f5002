"""The headers of a message, as they are sent to a model by gRPC. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provider_gateway.errors import UnsupportedMediaType
from provider_gateway.message.http_headers import headers_to_http, safe_content_type
from provider_gateway.message.ids import RQUID

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from provider_gateway.message.message import Message


def sent_headers(
    message: Message, rquid: str, ours: Mapping[str, str], on_unsafe: Callable[[], object]
) -> dict[str, str]:
    """The headers that travel, as over HTTP.

    Args:
        rquid: the request id to send.
        ours: sent in place of headers of the same names, in whatever case these are.
        on_unsafe: called for each header that is malformed. It is left out.
    """
    headers = headers_to_http(message.headers, on_unsafe)
    if ours:
        names = {name.lower() for name in ours}
        headers = {name: value for name, value in headers.items() if name.lower() not in names}
    return {**headers, RQUID: rquid, **ours}


def coding_of(message: Message) -> str | None:
    """The content coding of a message's body; None if it has none.

    Raises:
        UnsupportedMediaType: the message's ``content_encoding`` is malformed.
    """
    try:
        return message.content_coding()
    except ValueError as error:
        raise UnsupportedMediaType(str(error)) from None


def sent_content_type(message: Message) -> str:
    """The content type of a message's body: the property, or the header of the seed's programs."""
    return safe_content_type(message.content_type or text_header(message, "content-type"))


def text_header(message: Message, name: str) -> str | None:
    """The value of a header, whatever the case of its name; None if it is missing, or no text.

    Args:
        name: in lower case.
    """
    for given, value in message.headers.items():
        if len(given) == len(name) and isinstance(given, str) and given.lower() == name:
            return value if isinstance(value, str) else None
    return None
