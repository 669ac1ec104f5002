"""What callers of the Open Inference Protocol are told of server and models. No model is called for it."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from provider_gateway import __version__
from provider_gateway.errors import Forbidden, NotFound
from provider_gateway.http_server.problems import with_length
from provider_gateway.message.http_headers import JSON
from provider_gateway.topology.open_inference import VERSIONS, infer_path, open_models

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from provider_gateway.config.queue_file import QueueEntry
    from provider_gateway.gateway.admission import Admission
    from provider_gateway.gateway.readiness import Readiness

#: The extensions of the protocol that are passed on, as servers name them.
_EXTENSIONS = ("binary_tensor_data",)


class OpenInference:
    """The models of the queue file that have ``openInference``.

    Nothing here counts for a caller's rate.

    Args:
        admission: knows who may use which routing key.
        readiness: knows whether a queue is served.
    """

    def __init__(self, entries: Iterable[QueueEntry], admission: Admission, readiness: Readiness) -> None:
        self._models = open_models(entries)
        self._admission = admission
        self._readiness = readiness

    def server(self, request: Any) -> bytes:
        """Tell name, version and extensions of the server."""
        with self._admitted(request):
            return _answer(
                request, {"name": "provider-gateway", "version": __version__, "extensions": list(_EXTENSIONS)}
            )

    def live(self, request: Any) -> bytes:
        """Respond with 200: the listener runs, also while the process drains."""
        self._check_served()
        return _answer(request, {"live": True})

    async def ready(self, request: Any) -> bytes:
        """Respond with 200 if all models are ready that the caller may use.

        Raises:
            Unavailable: one is not, or the gateway is not.
        """
        with self._admitted(request):
            self._readiness.check_gateway()
            for name, entry in self._models.items():
                if self._may_use(request, entry):
                    await self._readiness.check(entry.queue_name, name)
            return _answer(request, {"ready": True})

    def model(self, request: Any, name: str, version: str | None) -> bytes:
        """Tell what the queue file says of a model. Its tensors are not known here.

        Raises:
            NotFound: there is no such model, or no such version.
            Forbidden: the access file does not let the caller use it.
        """
        with self._admitted(request):
            self._entry(request, name, version)
            document = {"name": name, "versions": list(VERSIONS), "platform": "", "inputs": [], "outputs": []}
            return _answer(request, document)

    async def model_ready(self, request: Any, name: str, version: str | None) -> bytes:
        """Respond with 200 if a model is ready.

        Raises:
            NotFound, Forbidden: as for :meth:`model`.
            Unavailable: it is not.
        """
        with self._admitted(request):
            entry = self._entry(request, name, version)
            await self._readiness.check(entry.queue_name, name)
            return _answer(request, {"name": name, "ready": True})

    def infer_path(self, name: str, version: str | None) -> bytes:
        """The path of a model's requests as it is published under: others are spellings of it.

        Raises:
            NotFound: as for :meth:`model`.
        """
        self._known(name, version)
        return infer_path(name, version)

    def _check_served(self) -> None:
        if not self._models:
            msg = "There is nothing at this path: no entry of the queue file has openInference."
            raise NotFound(msg)

    @contextmanager
    def _admitted(self, request: Any) -> Iterator[None]:
        self._admission.enter(request)
        try:
            self._check_served()
            yield
        finally:
            self._admission.in_flight -= 1

    def _may_use(self, request: Any, entry: QueueEntry) -> bool:
        assert entry.path_key is not None, "openInference needs one"
        return self._admission.may_use(request, entry.path_key)

    def _entry(self, request: Any, name: str, version: str | None) -> QueueEntry:
        entry = self._known(name, version)
        if not self._may_use(request, entry):
            msg = f"The certificate of {str(request.identity)!r} may not use the model {name!r}."
            raise Forbidden(msg)
        return entry

    def _known(self, name: str, version: str | None) -> QueueEntry:
        self._check_served()
        entry = self._models.get(name)
        if entry is None:
            msg = f"There is no model {name[:100]!r}; GET /v1/models lists those that there are."
            raise NotFound(msg)
        if version is not None and version not in VERSIONS:
            msg = f"The model {name!r} has no version {version[:100]!r}; leave the version out, or ask for 1."
            raise NotFound(msg)
        return entry


def _answer(request: Any, document: dict[str, Any]) -> bytes:
    return with_length(request, JSON, json.dumps(document).encode())
