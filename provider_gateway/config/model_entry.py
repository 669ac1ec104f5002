"""The model of an entry of the queue file (``model:``): where it is, which protocol it speaks, and how it is called."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BeforeValidator, ConfigDict, PlainSerializer, model_validator

from provider_gateway.config.entry_schema import MODEL
from provider_gateway.config.header_template import HEADERS_SCHEMA, HeaderTemplate, parse_headers
from provider_gateway.config.masked_url import MaskedURL
from provider_gateway.config.model_url import parse_model_url, parse_ready_url
from provider_gateway.config.schema_details import SchemaDetails, SchemaInstead
from provider_gateway.config.yaml_file import StrictModel

if TYPE_CHECKING:
    from collections.abc import Callable

Protocol = Literal["http", "open-inference", "open-inference-grpc", "mlserving-grpc"]

#: A name of a model is one segment of a path.
_NAME = re.compile(r"[^/\s\x00-\x1f\x7f]{1,255}")
_NAME_SCHEMA = {"pattern": f"^{_NAME.pattern}$", "not": {"enum": [".", ".."]}}
#: Protocols that name the model in each call.
_NAMING = frozenset({"open-inference", "open-inference-grpc"})
GRPC = frozenset({"open-inference-grpc", "mlserving-grpc"})


def _parsed(parse: Callable[[str], object]) -> BeforeValidator:
    """A validator that parses text, and passes on values that are parsed already. Errors do not quote the text."""

    def read(value: object) -> object:
        if value is None or isinstance(value, MaskedURL | Path):
            return value
        try:
            return parse(value if isinstance(value, str) else "")
        except ValueError as error:
            msg = f"expected {error}"
            raise ValueError(msg) from None

    return BeforeValidator(read)


def _file(text: str) -> Path:
    if not text.strip() or "\0" in text:
        msg = "the path of a file as text"
        raise ValueError(msg)
    return Path(text)


def _name(text: str) -> str:
    if not _NAME.fullmatch(text) or text in (".", "..") or not text.isprintable():
        msg = "a name of a model as text, of at most 255 characters without slashes and spaces"
        raise ValueError(msg)
    return text


def _masked(headers: tuple[tuple[str, HeaderTemplate], ...]) -> dict[str, str]:
    return {name: str(value) for name, value in headers}


_AS_TEXT = PlainSerializer(str, when_used="unless-none")
#: Of the whole URL; what a host may be is left to the check.
_URL_PATTERN = r"\s*[Hh][Tt][Tt][Pp][Ss]?://[^/?#\s@]+(?:[/?][^\s#]*)?\s*"
_URL = Annotated[
    MaskedURL, _parsed(parse_model_url), _AS_TEXT, SchemaInstead({"type": "string", "pattern": f"^{_URL_PATTERN}$"})
]
_File = Annotated[Path, _parsed(_file), _AS_TEXT, SchemaInstead({"type": "string", "pattern": r"\S"})]
ReadyURL = Annotated[
    MaskedURL,
    _parsed(parse_ready_url),
    _AS_TEXT,
    SchemaInstead({"type": "string", "pattern": rf"^(?:{_URL_PATTERN}|\s*/[^\s#]*\s*)$"}),
]


class ModelEntry(StrictModel):
    """The model of one queue.

    Attributes:
        url: where it is; None for the address that ``MODEL_URL`` or its parts say, with the TLS of ``MODEL_CACERT``.
        protocol: what it speaks.
        cacert: CAs to trust; None for those of the system.
        cert: our certificate and its chain; None for no certificate.
        key: the key of that certificate; None without one.
        headers: sent with each call, in place of a caller's header of that name. Names, and values that are not filled
            in yet (:func:`~provider_gateway.config.header_template.filled_headers`).
        ready_url: URL, or path on the model's host, that answers 2xx while the model is ready; None if there is none.
        name: the model's name in the Open Inference Protocol, and in ``GET /v1/models``.
    """

    model_config = ConfigDict(json_schema_extra=MODEL)

    url: _URL | None = None
    protocol: Protocol = "http"
    cacert: _File | None = None
    cert: _File | None = None
    key: _File | None = None
    headers: Annotated[
        tuple[tuple[str, HeaderTemplate], ...],
        BeforeValidator(parse_headers),
        PlainSerializer(_masked),
        SchemaInstead(HEADERS_SCHEMA),
    ] = ()
    ready_url: ReadyURL | None = None
    name: Annotated[str, _parsed(_name), SchemaDetails(_NAME_SCHEMA)] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> ModelEntry:
        if (self.cert is None) != (self.key is None):
            msg = "cert and key: expected both or neither"
            raise ValueError(msg)
        if self.protocol in _NAMING and self.name is None:
            msg = f"name: needed with the protocol {self.protocol}, which names the model in each call"
            raise ValueError(msg)
        if self.protocol in GRPC and self.url is not None and not self._is_bare(self.url):
            msg = f"url: expected http[s]://host:port alone with the protocol {self.protocol}, without path and query"
            raise ValueError(msg)
        if self.cacert is not None or self.cert is not None:
            if self.url is None:
                msg = "cacert, cert and key: expected only with a url; MODEL_CACERT and others belong to MODEL_URL"
                raise ValueError(msg)
            if not any(url is not None and url.reveal().startswith("https:") for url in (self.url, self.ready_url)):
                msg = "cacert, cert and key: expected only with an https url"
                raise ValueError(msg)
        return self

    @staticmethod
    def _is_bare(url: MaskedURL) -> bool:
        return re.fullmatch(r"https?://[^/?]*/?", url.reveal()) is not None
