"""Which bodies an entry of the queue file accepts: media types, and content codings that are passed on."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from provider_gateway.config.schema_details import OneOrMore, SchemaDetails, any_case
from provider_gateway.content_codings import NO_CODINGS, canonical, is_coding

_TOKEN = "[!#$%&'+.^_`|~0-9a-z-]+"  # noqa: S105 - RFC 9110, 5.6.2, in lower case and without the asterisk
_RANGE = re.compile(rf"\*/\*|{_TOKEN}/(?:\*|{_TOKEN})")
_ANY_CASE = _RANGE.pattern.replace("a-z", "A-Za-z")
_RANGE_PATTERN = rf"^\s*(?:{_ANY_CASE})\s*$"
_CODING = {
    "pattern": r"^\s*[!#$%&'*+.^_`|~0-9A-Za-z-]+\s*$",
    "not": {"pattern": rf"^\s*{any_case(sorted(NO_CODINGS))}\s*$"},
}


def _media_range(value: object) -> object:
    if not isinstance(value, str):
        return value
    text = value.strip().lower()
    if not _RANGE.fullmatch(text):
        msg = f"expected a media type such as application/json, image/* or */*, without parameters, found {value!r}"
        raise ValueError(msg)
    return text


def _coding(value: object) -> object:
    if not isinstance(value, str):
        return value
    text = canonical(value.strip())
    if not is_coding(text):
        msg = f"expected a content coding such as gzip, found {value!r}"
        raise ValueError(msg)
    return text


def _unique(values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))


#: ``type/subtype``, ``type/*`` or ``*/*``, in lower case.
AcceptedTypes = Annotated[
    tuple[Annotated[str, BeforeValidator(_media_range), SchemaDetails({"pattern": _RANGE_PATTERN})], ...],
    AfterValidator(_unique),
    Field(strict=False, min_length=1),
    SchemaDetails({"minItems": 1}),
    OneOrMore(),
]
#: Codings in lower case.
AcceptedCodings = Annotated[
    tuple[Annotated[str, BeforeValidator(_coding), SchemaDetails(_CODING)], ...],
    AfterValidator(_unique),
    Field(strict=False),
    OneOrMore(),
]
