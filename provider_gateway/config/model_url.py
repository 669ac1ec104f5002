"""The URL of the model, whole or put together from its parts, and the URL that says whether the model is ready."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from pydantic_settings import PydanticBaseSettingsSource

from provider_gateway.config.host import bracketed, parse_authority, parse_host
from provider_gateway.config.masked_url import MaskedURL
from provider_gateway.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic.fields import FieldInfo
    from pydantic_settings import BaseSettings

_DEFAULT_HOST = "webapp"
#: Path and query: without white space, control characters and fragment.
_TARGET = r"[^\s#\0-\x1f\x7f]*"
_URL = re.compile(rf"(https?)://([^/?#\s]*)((?:[/?]{_TARGET})?)", re.IGNORECASE)
_PATH = re.compile(rf"/{_TARGET}")
_A_URL = "http://… or https://…"


def parse_model_url(text: str) -> MaskedURL:
    """Read the URL of the model. White space around it is ignored, such as the line end of a file.

    Raises:
        ValueError: the text is no such URL. The error does not quote it.
    """
    return parse_url(text, _A_URL)


def parse_url(text: str, expected: str) -> MaskedURL:
    """Read a URL. White space around it is ignored.

    Args:
        expected: says which forms are allowed, for the error.

    Raises:
        ValueError: the text is no URL. The error does not quote it.
    """
    match = _URL.fullmatch(text.strip())
    if match is None or "@" in match[2] or match[2].lower() in ("http:", "https:"):
        msg = f"{expected}, without user, password, fragment and spaces"
        raise ValueError(msg)
    scheme, authority, target = match.groups()
    _, host, port = parse_authority(authority)
    return _url(scheme.lower(), host, port, target)


def parse_model_host(text: str) -> str:
    """Read the host of the model's URL. White space around it is ignored.

    Raises:
        ValueError: the text is no host. The error does not quote it.
    """
    try:
        return parse_host(text.strip())
    except ValueError as error:
        if "://" not in text:
            raise
        msg = f"{error}; a whole URL goes into MODEL_URL"
        raise ValueError(msg) from None


def parse_model_path(text: str) -> MaskedURL:
    """Read the path of the model's URL. White space around it is ignored.

    Raises:
        ValueError: the text is no path. The error does not quote it.
    """
    text = text.strip()
    if not _PATH.fullmatch(text):
        msg = "a path that begins with /, without fragment and spaces"
        raise ValueError(msg)
    _encodable(text)
    return MaskedURL(text)


def parse_ready_url(text: str) -> MaskedURL:
    """Read a ready URL: a whole URL, or a path on the model's host.

    Raises:
        ValueError: the text is neither. The error does not quote it.
    """
    if text.strip().startswith("/"):
        return parse_model_path(text)
    return parse_url(text, f"{_A_URL}, or a path on the model's host that begins with /")


def ready_url(given: MaskedURL, model: MaskedURL) -> MaskedURL:
    """The whole ready URL.

    Args:
        given: from :func:`parse_ready_url`.
        model: the URL of the model. A path is one on its host.
    """
    target = given.reveal()
    if not target.startswith("/"):
        return given
    scheme, _, rest = model.reveal().partition("://")
    return MaskedURL(f"{scheme}://{re.split('[/?]', rest, maxsplit=1)[0]}{target}")


def model_url(host: str | None, port: int, path: MaskedURL) -> MaskedURL:
    """The URL of the parts.

    Args:
        host: from :func:`~provider_gateway.config.host.parse_host`; None for the seed's ``webapp``.
    """
    return _url("http", host or _DEFAULT_HOST, port, path.reveal())


def _url(scheme: str, host: str, port: int | None, target: str) -> MaskedURL:
    _encodable(target)
    return MaskedURL(f"{scheme}://{bracketed(host)}{'' if port is None else f':{port}'}{target}")


def _encodable(text: str) -> None:
    try:
        text.encode()
    except UnicodeError:
        msg = "path and query as UTF-8"
        raise ValueError(msg) from None


class NamedHost(PydanticBaseSettingsSource):
    """The host of the model in the variable that ``MODEL_HOST_ENV`` names, such as Kubernetes' ``<NAME>_SERVICE_HOST``.

    Used if neither ``MODEL_URL`` nor ``MODEL_HOST`` is set, so it must be the last source.

    Args:
        file: the variables of the env file; their names are in lower case. The environment wins.
    """

    def __init__(self, settings: type[BaseSettings], file: Mapping[str, str | None]) -> None:
        super().__init__(settings)
        self._file = file

    def __call__(self) -> dict[str, Any]:
        """The host, as the value of ``MODEL_HOST`` (pydantic_settings.PydanticBaseSettingsSource).

        Raises:
            SettingsError: the variable holds no host.
        """
        known = self.current_state
        named = known.get("model_host_env")
        if not isinstance(named, str) or known.get("model_url") is not None or known.get("model_host") is not None:
            return {}
        # The seed upper-cases the name.
        name = named.strip().upper()
        host = os.environ.get(name) or self._file.get(name.lower())
        if not host:
            return {}
        try:
            return {"model_host": parse_model_host(host)}
        except ValueError as error:
            msg = f"{name} (named by MODEL_HOST_ENV): expected {error}"
            raise SettingsError(msg) from None

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002 - as there
        """No field has a value of its own (pydantic_settings.PydanticBaseSettingsSource)."""
        return None, field_name, False
