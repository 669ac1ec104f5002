"""What we show the models of the queue file's entries: TLS with our certificates, and headers that may hold keys."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from provider_gateway.config.header_template import filled_headers
from provider_gateway.security.pem import PEMFile
from provider_gateway.security.tls import ClientTLS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from provider_gateway.config.queue_file import QueueEntry

#: Shorter words, such as Bearer, are no secrets of their own.
_SECRET_LENGTH = 8
#: Shorter values, such as a version, are no secrets: to mask them would make texts unreadable.
_SHORTEST = 4
_Files = tuple["Path | None", "Path | None", "Path | None"]


@dataclass(frozen=True, slots=True)
class ModelCredentials:
    """What one model is shown.

    Attributes:
        tls: towards the model.
        headers: of each call. They have the values of their variables.
    """

    tls: ClientTLS
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def secrets(self) -> list[str]:
        """What nobody else may see, should the model repeat it: values that are not short, and long words of them."""
        values = [value for value in self.headers.values() if len(value) >= _SHORTEST]
        return [*values, *(word for value in values for word in value.split() if len(word) >= _SECRET_LENGTH)]


def load_model_credentials(
    entries: Iterable[QueueEntry],
    process_wide: ClientTLS,
    variables: Mapping[str, str],
    on_expiry: Callable[[str, float], object],
) -> dict[str, ModelCredentials]:
    """Read the files and variables of the entries that have a model of their own.

    Args:
        process_wide: TLS towards the model of ``MODEL_URL``.
        variables: of the environment.
        on_expiry: see :class:`.ClientTLS`.

    Returns:
        By queue; entries with the same files share their TLS.

    Raises:
        SettingsError: a file is missing, unreadable or wrong, or a variable is not set.
    """
    with_model = [(entry.queue_name, entry.model) for entry in entries if entry.model is not None]
    users: dict[_Files, list[str]] = {}
    for queue, model in with_model:
        if model.url is not None:
            users.setdefault((model.cacert, model.cert, model.key), []).append(queue)
    sides = {files: _tls(files, queues, on_expiry) for files, queues in users.items()}
    return {
        queue: ModelCredentials(
            process_wide if model.url is None else sides[model.cacert, model.cert, model.key],
            filled_headers(model.headers, variables, queue),
        )
        for queue, model in with_model
    }


def _tls(files: _Files, queues: list[str], on_expiry: Callable[[str, float], object]) -> ClientTLS:
    cacert, cert, key = (
        PEMFile.if_set(f"model.{name} of queue {queues[0]!r}", path)
        for name, path in zip(("cacert", "cert", "key"), files, strict=True)
    )
    return ClientTLS(f"model of {', '.join(queues)}", cacert=cacert, cert=cert, key=key, on_expiry=on_expiry)
