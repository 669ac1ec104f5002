"""The calls that the demo makes itself, through the gateway, as a caller makes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urljoin

from treq.client import HTTPClient
from twisted.web.client import Agent
from twisted.web.http_headers import Headers

from provider_gateway.demo.examples import BODY
from provider_gateway.errors import SettingsError
from provider_gateway.security.pem import PEMFile
from provider_gateway.security.tls import ClientTLS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class Answers(NamedTuple):
    """What the calls were answered with.

    Attributes:
        text: the answer to a call that waits.
        result: the URL of the result of one that does not.
    """

    text: str
    result: str


async def trial_calls(reactor: Any, certs: Path, url: str, headers: Mapping[str, str]) -> Answers:
    """Call the sample model, once with waiting for the answer, and once without.

    Args:
        certs: the folder of certificates.
        url: of ``/v1/predict``.
        headers: of each call.

    Raises:
        SettingsError: a call was answered with another status than it should be.
    """
    caller = ClientTLS(
        "gateway",
        cacert=PEMFile("--demo-folder", certs / "cacert.pem"),
        cert=PEMFile("--demo-folder", certs / "client_cert.pem"),
        key=PEMFile("--demo-folder", certs / "client_key.pem"),
        on_expiry=lambda _side, _when: None,
    )
    client = HTTPClient(Agent(reactor, caller))

    async def call(status: int, **more: str) -> tuple[Headers, str]:
        wanted = Headers({name: [value] for name, value in {**headers, **more}.items()})
        response = await client.post(url, data=BODY.encode(), headers=wanted)
        text = await response.text()
        if response.code != status:
            msg = f"its own call was answered with HTTP status {response.code}: {text}"
            raise SettingsError(msg)
        return response.headers, text

    _, text = await call(200)
    accepted, _ = await call(202, Prefer="respond-async")
    (location,) = accepted.getRawHeaders("Location", [])
    return Answers(text, urljoin(url, f"{location}/result"))
