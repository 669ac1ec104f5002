"""The settings of the process: environment and ``.env`` become one frozen, validated object.

The names are those of the seed's two services. ``GIN_*`` are accepted in place of ``HTTP_*``.
"""

from __future__ import annotations

import os
import socket
import uuid
from pathlib import Path  # noqa: TC003 - pydantic evaluates the annotations
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import AfterValidator, AliasChoices, BeforeValidator, Field, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from provider_gateway.config.broker_url import BrokerURL, parse_broker_urls
from provider_gateway.config.host import parse_host
from provider_gateway.config.limits import Limits
from provider_gateway.config.masked_url import MaskedURL
from provider_gateway.config.model_url import (
    NamedHost,
    model_url,
    parse_model_host,
    parse_model_path,
    parse_model_url,
    parse_ready_url,
    ready_url,
)
from provider_gateway.config.queue_file import MAX_SECONDS
from provider_gateway.config.result_settings import ResultSettings, expiry_risks
from provider_gateway.config.seed_files import seed_file, seed_file_if_there
from provider_gateway.config.trace_settings import TRACE_SECRETS, TraceSettings
from provider_gateway.config.variable_names import is_of_kubernetes
from provider_gateway.config.yaml_file import describe
from provider_gateway.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from provider_gateway.config.queue_file import QueueEntry

Role = Literal["gateway", "provider"]
ROLES: tuple[Role, ...] = ("gateway", "provider")


def _parsed(parse: Callable[[str], object]) -> Callable[[object], object]:
    """A validator that parses text, and passes on values that are parsed already."""
    return lambda value: parse(value) if isinstance(value, str) else value


def _address(text: str) -> str:
    """The address of a listener. An address that is valid on one link only needs a zone."""
    return parse_host(text.strip(), zone=True)


def _comma_separated(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _unique(name: str) -> str:
    """Make a name unique: replicas with the same name would share a reply queue and take each other's replies."""
    return f"{name}-{uuid.uuid4().hex[:8]}"


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


#: Variables whose values errors never quote.
_MAY_HOLD_SECRETS = (
    "RMQ_URL",
    "MODEL_URL",
    "MODEL_HOST",
    "MODEL_PATH",
    "MODEL_READY_URL",
    "RESULT_STORE",
    *TRACE_SECRETS,
)

_DEFAULTS = Limits()

Port = Annotated[int, Field(ge=0, le=65535)]
Count = Annotated[int, Field(ge=1)]
Address = Annotated[str, BeforeValidator(_parsed(_address))]
Seconds = Annotated[float, Field(gt=0, le=MAX_SECONDS, allow_inf_nan=False)]


class Settings(ResultSettings, TraceSettings):
    """The effective settings; docs/settings.md says what each variable means.

    Each field is read from the variable of its name in capitals. ``http_port`` and ``admin_port`` may be 0 for a free
    port, which is then in the log. Times are seconds.
    """

    model_config = SettingsConfigDict(frozen=True, env_ignore_empty=True, extra="ignore", populate_by_name=True)

    rmq_url: Annotated[tuple[BrokerURL, ...], NoDecode, BeforeValidator(_parsed(parse_broker_urls))]
    mq_cacert: Path = Field(default_factory=lambda: seed_file("cacert_mq.pem"))
    mq_cert: Path | None = Field(default_factory=lambda: seed_file_if_there("client_cert_mq.pem"))
    mq_key: Path | None = Field(default_factory=lambda: seed_file_if_there("client_key_mq.pem"))

    http_addr: Address = Field("0.0.0.0", validation_alias=AliasChoices("HTTP_ADDR", "GIN_ADDR"))  # noqa: S104 - a server
    http_port: Port = Field(5050, validation_alias=AliasChoices("HTTP_PORT", "GIN_PORT"))
    http_tls: bool = Field(default=True, validation_alias=AliasChoices("HTTP_TLS", "GIN_HTTPS"))
    http_cert: Path = Field(
        default_factory=lambda: seed_file("server_cert.pem"),
        validation_alias=AliasChoices("HTTP_CERT", "GIN_CERT"),
    )
    http_key: Path = Field(
        default_factory=lambda: seed_file("server_key.pem"),
        validation_alias=AliasChoices("HTTP_KEY", "GIN_KEY", "GIN_CERT_KEY"),
    )
    http_cacert: Path = Field(default_factory=lambda: seed_file("trusted_crt.pem"))
    http_crl: Path | None = None
    http_access: Path | None = None
    http_handshake_timeout: Seconds = _DEFAULTS.handshake_timeout
    http_headers_timeout: Seconds = _DEFAULTS.headers_timeout
    http_body_timeout: Seconds = _DEFAULTS.body_timeout
    http_write_timeout: Seconds = _DEFAULTS.write_timeout
    http_idle_timeout: Seconds = _DEFAULTS.idle_timeout
    http_max_connections: Count = _DEFAULTS.max_connections
    http_max_connections_per_identity: Count = _DEFAULTS.max_connections_per_identity
    http_max_headers: Count = _DEFAULTS.max_headers
    http_max_header_bytes: Annotated[int, Field(ge=1024, le=65_536)] = _DEFAULTS.max_header_bytes

    admin_addr: Address = "0.0.0.0"  # noqa: S104 - the kubelet and Prometheus come from outside
    admin_port: Port = 5080

    model_url: Annotated[MaskedURL | None, NoDecode, BeforeValidator(_parsed(parse_model_url))] = None
    model_host: Annotated[str | None, BeforeValidator(_parsed(parse_model_host))] = None
    model_host_env: str | None = None
    model_port: Annotated[int, Field(ge=1, le=65535)] = 8080
    model_path: Annotated[MaskedURL, NoDecode, BeforeValidator(_parsed(parse_model_path))] = MaskedURL("/predict")
    model_ready_url: Annotated[MaskedURL | None, NoDecode, BeforeValidator(_parsed(parse_ready_url))] = None
    model_cacert: Path | None = None
    model_cert: Path | None = None
    model_key: Path | None = None

    model_timeout: Seconds = 300
    reply_timeout: Seconds = 90
    reply_queue_expires: Annotated[float, Field(ge=1, le=MAX_SECONDS, allow_inf_nan=False)] = 600
    max_in_flight: Count = 1000
    max_body_bytes: Count = _DEFAULTS.max_body_bytes
    max_buffered_bytes: Count = _DEFAULTS.max_buffered_bytes
    max_json_depth: Annotated[int, Field(ge=1, le=500)] = 128
    cors_origins: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_comma_separated)] = ()
    drain_timeout: Seconds = 25

    workers: Annotated[int, Field(ge=1, le=64)] = 1
    log_model_errors: bool = True
    model_errors_to_callers: bool = False
    log_level: Annotated[Literal["debug", "info"], BeforeValidator(_lower)] = "info"
    access_log: Path | None = None
    audit_log: Path | None = None
    queues_conf: Path | None = None
    instance: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,100}$"), AfterValidator(_unique)] = Field(
        default_factory=lambda: socket.gethostname()[:60], validate_default=True
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The sources, the strongest first (pydantic_settings.BaseSettings)."""
        assert isinstance(env_settings, EnvSettingsSource)
        assert isinstance(dotenv_settings, DotEnvSettingsSource)
        given = env_settings.env_vars.items()
        env_settings.env_vars = {name: value for name, value in given if not is_of_kubernetes(name, value)}
        named = NamedHost(settings_cls, dotenv_settings.env_vars)
        return init_settings, env_settings, dotenv_settings, file_secret_settings, named

    @model_validator(mode="after")
    def _pairs(self) -> Self:
        for cert, key, names in (
            (self.mq_cert, self.mq_key, "MQ_CERT and MQ_KEY"),
            (self.model_cert, self.model_key, "MODEL_CERT and MODEL_KEY"),
        ):
            if (cert is None) != (key is None):
                msg = f"{names}: expected both or neither"
                raise ValueError(msg)
        if self.http_access is not None and not self.http_tls:
            msg = "HTTP_ACCESS: needs HTTP_TLS: without client certificates nobody has an identity"
            raise ValueError(msg)
        if self.max_buffered_bytes < self.max_body_bytes:
            msg = "MAX_BUFFERED_BYTES: expected at least MAX_BODY_BYTES: one body has to fit"
            raise ValueError(msg)
        return self

    @property
    def scheme(self) -> str:
        """``https`` or ``http``: the protocol of the listener for callers, and its name in logs."""
        return "https" if self.http_tls else "http"

    @property
    def limits(self) -> Limits:
        """The limits of the HTTPS listener."""
        return Limits(
            handshake_timeout=self.http_handshake_timeout,
            headers_timeout=self.http_headers_timeout,
            body_timeout=self.http_body_timeout,
            write_timeout=self.http_write_timeout,
            idle_timeout=self.http_idle_timeout,
            max_connections=self.http_max_connections,
            max_connections_per_identity=self.http_max_connections_per_identity,
            max_headers=self.http_max_headers,
            max_header_bytes=self.http_max_header_bytes,
            max_body_bytes=self.max_body_bytes,
            max_buffered_bytes=self.max_buffered_bytes,
        )

    @property
    def effective_result_max_bytes(self) -> int:
        """Bytes of the largest body that the store keeps: ``RESULT_MAX_BYTES``, else ``MAX_BODY_BYTES``."""
        return self.result_max_bytes or self.max_body_bytes

    @property
    def risks(self) -> list[str]:
        """Combinations of settings that lose something, one line each."""
        if self.result_store is None:
            return []
        return expiry_risks(expires=self.reply_queue_expires, reply_timeout=self.reply_timeout)

    @property
    def effective_model_url(self) -> MaskedURL:
        """``MODEL_URL``; without it, the URL made of the seed's host, port and path."""
        if self.model_url is not None:
            return self.model_url
        return model_url(self.model_host, self.model_port, self.model_path)

    def url_of(self, entry: QueueEntry) -> MaskedURL:
        """The URL of an entry's model: its own, else :attr:`effective_model_url`."""
        return entry.model_url or self.effective_model_url

    def effective_ready_url(self, entry: QueueEntry) -> MaskedURL | None:
        """The whole URL that says whether an entry's model is ready; ``MODEL_READY_URL`` is for ``MODEL_URL`` alone."""
        given = entry.model_ready_url or (self.model_ready_url if entry.model_url is None else None)
        return None if given is None else ready_url(given, self.url_of(entry))


def names_of_settings() -> list[list[str]]:
    """The names of every setting; the first one of a setting is its own, others are the seed's."""
    aliases = ((name, field.validation_alias) for name, field in Settings.model_fields.items())
    return [
        [str(choice) for choice in alias.choices] if isinstance(alias, AliasChoices) else [name.upper()]
        for name, alias in aliases
    ]


def name_used(name: str) -> str:
    """The name under which the user has set a variable: ``GIN_PORT`` if that is set, and not ``HTTP_PORT``."""
    names = next((each for each in names_of_settings() if name in each), [name])
    return next((each for each in names if os.environ.get(each)), name)


def load_settings(env_file: Path | None = None, **given: Any) -> Settings:
    """Read the environment and an env file; the environment wins.

    Args:
        env_file: None means ``.env`` in the working directory, if there is one.
        given: settings by field name, which win over both.

    Raises:
        SettingsError: a variable is missing or wrong. The error names it and says what was expected.
    """
    if env_file is not None and not env_file.is_file():
        msg = f"--env-file {env_file}: no such file"
        raise SettingsError(msg)
    try:
        # A type checker wants the required fields as arguments; pydantic-settings takes them from the environment.
        return Settings(_env_file=env_file or ".env", **given)  # type: ignore[call-arg]
    except UnicodeDecodeError:
        msg = f"{env_file or '.env'}: expected UTF-8"
        raise SettingsError(msg) from None
    except ValidationError as error:
        first = error.errors()[0]
        if not first["loc"]:
            raise SettingsError(describe(first)) from None
        name = name_used(str(first["loc"][0]).upper())
        if name in _MAY_HOLD_SECRETS:
            first = {**first, "input": None}
        expected = describe(first)
        if first["type"] == "value_error":
            expected = f"expected {expected}"
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        msg = f"{name}: {expected}{more}"
        raise SettingsError(msg) from None
