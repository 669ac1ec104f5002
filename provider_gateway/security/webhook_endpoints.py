"""The webhook endpoints that the access file registers: their URLs, and the secrets and CAs that they name as files."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import TYPE_CHECKING, Annotated

from pydantic import BeforeValidator, Field

from provider_gateway.config.masked_url import MaskedURL
from provider_gateway.config.model_url import parse_url
from provider_gateway.config.schema_details import SchemaDetails, SchemaInstead, any_case
from provider_gateway.config.yaml_file import StrictModel
from provider_gateway.errors import SettingsError
from provider_gateway.http_client.treq_post import FixedURL
from provider_gateway.security.pem import PEMFile
from provider_gateway.security.tls import ClientTLS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
#: The form of a secret (Standard Webhooks 1.0, "Signature scheme").
_PREFIX = "whsec_"
_LEAST_BYTES, _MOST_BYTES = 24, 64
_A_SECRET = (
    f"expected one secret: {_PREFIX} and the base64 of {_LEAST_BYTES} to {_MOST_BYTES} random bytes; make one with: "
    f'echo "{_PREFIX}$(openssl rand -base64 32)"'
)
_A_URL = "https://…, or http://… on a loopback address"
_TEXT = Annotated[str, Field(min_length=1)]
#: What a host may be is left to the check, but for hosts without TLS.
_URL_SCHEMA = {
    "type": "string",
    "pattern": (
        r"^\s*(?:[Hh][Tt][Tt][Pp][Ss]://[^/?#\s@]+"
        rf"|[Hh][Tt][Tt][Pp]://(?:{any_case(['localhost'])}|[0-9][0-9A-Fa-fxX.]*|\[[^\]\s]*\])(?::[0-9]*)?)"
        r"(?:[/?][^\s#]*)?\s*$"
    ),
}
_A_FILE = SchemaDetails({"not": {"pattern": rf"^\s*{_PREFIX}"}})
NAMES_IN_SCHEMA = SchemaDetails({"propertyNames": {"pattern": f"^{_NAME.pattern}$"}})


def _url(value: object) -> MaskedURL:
    """Read the URL of an endpoint.

    Raises:
        ValueError: it is no such URL. The error does not quote it: its query may hold a key.
    """
    if not isinstance(value, str):
        msg = f"expected {_A_URL}"
        raise ValueError(msg)
    try:
        url = parse_url(value, _A_URL)
        fixed = FixedURL.of(url.reveal())
    except ValueError as error:
        msg = f"expected {error}"
        raise ValueError(msg) from None
    if fixed.scheme == "http" and not _is_loopback(fixed.host):
        msg = f"expected {_A_URL}: without TLS, results could be forged, and anybody could read which there are"
        raise ValueError(msg)
    return url


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _files(value: object) -> object:
    """Refuse a secret in place of its file, without quoting it."""
    for each in value if isinstance(value, list) else [value]:
        if isinstance(each, str) and each.strip().startswith(_PREFIX):
            msg = "expected a list of files, each with one secret; found a secret itself"
            raise ValueError(msg)
    return value


class WebhookEntry(StrictModel):
    """One endpoint, as the access file has it.

    Attributes:
        url: where webhooks are posted to.
        secret_files: each has one secret. All of them sign, so that a receiver can change over to a new one.
        cacert: CAs to trust; None for those of the system.
    """

    url: Annotated[MaskedURL, BeforeValidator(_url), SchemaInstead(_URL_SCHEMA)]
    secret_files: Annotated[
        tuple[Annotated[_TEXT, _A_FILE], ...], Field(min_length=1, max_length=10, strict=False), BeforeValidator(_files)
    ]
    cacert: _TEXT | None = None

    def files(self, folder: Path) -> Iterator[Path]:
        """The files that it names.

        Args:
            folder: relative paths are below it.
        """
        for each in (*self.secret_files, self.cacert):
            if each is not None:
                yield folder / each


def checked_names(entries: dict[str, WebhookEntry]) -> dict[str, WebhookEntry]:
    """Check the names of endpoints.

    Raises:
        ValueError: one does not fit into the ``Webhook`` header.
    """
    for name in entries:
        if not _NAME.fullmatch(name):
            msg = f"{name!r}: expected a name of 1 to 64 letters, digits, '.', '_' and '-', a letter or digit first"
            raise ValueError(msg)
    return entries


# Compared by identity: after a reload, each endpoint is another one, and starts anew.
@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Endpoint:
    """An endpoint with what its files hold.

    Attributes:
        name: from the access file.
        secrets: the keys of its signatures.
        tls: trusts the CAs of the endpoint, and checks its host name.
    """

    name: str
    url: MaskedURL
    secrets: tuple[bytes, ...] = field(repr=False)
    tls: ClientTLS


def load_endpoint(name: str, entry: WebhookEntry, folder: Path, where: str) -> Endpoint:
    """Read the files of an endpoint.

    Args:
        folder: relative paths are below it.
        where: names the entry, for errors.

    Raises:
        SettingsError: a file is missing, unreadable or wrong.
    """
    secrets = tuple(
        _secret(folder / each, f"{where}.secretFiles[{index}]") for index, each in enumerate(entry.secret_files)
    )
    cacert = None if entry.cacert is None else PEMFile(f"{where}.cacert", folder / entry.cacert)
    return Endpoint(name, entry.url, secrets, ClientTLS("webhook", cacert=cacert, cert=None, key=None))


def _secret(path: Path, where: str) -> bytes:
    try:
        text = path.read_text(encoding="ascii").strip()
    except OSError as error:
        msg = f"{where}: {path}: expected a readable file with a secret, got: {error.strerror}"
        raise SettingsError(msg) from None
    except UnicodeDecodeError:
        text = ""
    try:
        secret = base64.b64decode(text.removeprefix(_PREFIX), validate=True) if text.startswith(_PREFIX) else b""
    except binascii.Error:
        secret = b""
    if not _LEAST_BYTES <= len(secret) <= _MOST_BYTES:
        msg = f"{where}: {path}: {_A_SECRET}"
        raise SettingsError(msg)
    return secret
