"""Finds out if a model's path takes POST, without a call of the model, for ``--check --connect``.

A POST would be a call, and for some servers a GET is one, too: TorchServe predicts for any method but OPTIONS. So
OPTIONS is asked first (RFC 9110, 9.3.7), and GET only where it is still open whether there is anything at the path:

============================================  =================  ===========
server                                        path of POST only  wrong path
============================================  =================  ===========
FastAPI, BentoML, aiohttp, Django, Bottle     405, Allow: POST   404
Flask, Falcon, Express                        200, Allow: POST   404
Tornado                                       405                404
TorchServe                                    200                404
http.server of Python                         501                501
Gin, Rails                                    404                404
============================================  =================  ===========

Servers that do not know OPTIONS, such as http.server, may tell by their answer to GET. Gin and Rails answer 404 to it,
too, so that they look like a wrong path; so may a server that is written by hand. The line says what to do then.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from twisted.internet.defer import Deferred, TimeoutError as DeferredTimeoutError

from provider_gateway.http_client.body import SMALL, CappedBody
from provider_gateway.http_client.errors import ResponseError
from provider_gateway.http_client.treq_post import FixedURL, RequestHeaders
from provider_gateway.message.http_headers import text_of
from provider_gateway.model.interface import Finding
from provider_gateway.model.model_errors import safe_text
from provider_gateway.net.failure_reasons import reason_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provider_gateway.config.masked_url import MaskedURL
    from provider_gateway.http_client.treq_post import TreqClient

#: Seconds for each answer.
_TIMEOUT = 5.0
_NOT_FOUND = (404, 410)
_NOT_ALLOWED = 405
#: Redirects that hold for every method; 302 and 303 may be for pages alone.
_REDIRECTS = (301, 307, 308)
#: Statuses to a method that the server does not know.
_UNKNOWN = (400, 501)
_COMPARE = "Compare the path with the one that the model takes POST at"


class _Answer(NamedTuple):
    """An answer of the model.

    Attributes:
        allowed: the methods in ``Allow``; empty without it.
        location: the address that it redirects to, without a query, which may hold a key.
    """

    status: int
    allowed: frozenset[str]
    location: str

    @property
    def listed(self) -> str:
        return safe_text(", ".join(sorted(self.allowed)))


def _of_options(options: _Answer) -> Finding | None:
    """What OPTIONS tells; None if that is not enough."""
    if options.status in _REDIRECTS:
        text = f"redirects to {options.location!r} (HTTP status {options.status}), and calls do not follow redirects"
        return Finding(text, is_wrong=True)
    if "POST" in options.allowed:
        return Finding(f"answers (HTTP status {options.status} to OPTIONS, POST is allowed)")
    if options.status < 300 and options.allowed:
        return Finding(f"its path allows {options.listed}, and not POST. {_COMPARE}", is_wrong=True)
    if options.status in (*_NOT_FOUND, *_UNKNOWN) or options.allowed:
        return None
    return Finding(f"answers (HTTP status {options.status} to OPTIONS)")


def _of_get(options: _Answer | None, get: _Answer) -> Finding:
    """What GET tells, where OPTIONS was not enough.

    Args:
        options: None if OPTIONS got no valid answer.
    """
    if get.status in _NOT_FOUND and (options is None or not options.allowed):
        text = f"there is nothing at its path (HTTP status {get.status} to GET). {_COMPARE}"
        return Finding(f"{text}. If it is right, let the model answer OPTIONS or GET there with 405", is_wrong=True)
    allows = next((each for each in (get, options) if each is not None and each.allowed), get)
    if get.status == _NOT_ALLOWED and allows.allowed and "POST" not in allows.allowed:
        return Finding(f"its path allows {allows.listed}, and not POST. {_COMPARE}", is_wrong=True)
    if options is not None and options.allowed:
        # Starlette, and so FastAPI, names the methods of one route, also if a path has several routes.
        text = f"answers (HTTP status {get.status} to GET), and does not name POST as allowed, but {options.listed}"
        return Finding(f"{text}. {_COMPARE}")
    return Finding(f"answers (HTTP status {get.status} to GET)")


class PathCheck:
    """The question to one model.

    Args:
        clock: measures the time limit.
        client: from :func:`~provider_gateway.model.client.model_client`.
        url: of the model's calls.
        headers: that calls have, such as credentials.
    """

    def __init__(self, clock: Any, client: TreqClient, url: MaskedURL, headers: Mapping[str, str]) -> None:
        self._clock = clock
        self._client = client
        self._url = FixedURL.of(url.reveal())
        self._headers = RequestHeaders(headers)

    async def find(self) -> Finding:
        """Ask. A model that cannot be reached is a finding, too."""
        try:
            try:
                options = await self._ask("OPTIONS")
            except ResponseError:
                options = None  # there are servers that close the connection
            finding = _of_options(options) if options is not None else None
            return finding or _of_get(options, await self._ask("GET"))
        except DeferredTimeoutError:
            return Finding(f"no answer within {_TIMEOUT:g} s", is_wrong=True)
        except Exception as error:  # noqa: BLE001 - whatever keeps the model from responding is the finding
            return Finding(reason_of(error), is_wrong=True)

    async def _ask(self, method: str) -> _Answer:
        asking = Deferred.fromCoroutine(self._answer(method))
        asking.addTimeout(_TIMEOUT, self._clock)
        return await asking

    async def _answer(self, method: str) -> _Answer:
        response = await self._client.request(method, self._url, headers=self._headers)
        body = CappedBody(SMALL)
        response.deliverBody(body)
        with suppress(ResponseError):
            await body.done  # so that the connection can be used again
        allowed = ",".join(map(text_of, response.headers.getRawHeaders(b"allow", [])))
        location = text_of(response.headers.getRawHeaders(b"location", [b""])[0])
        return _Answer(
            response.code,
            frozenset(each.strip().upper() for each in allowed.split(",") if each.strip()),
            safe_text(location.partition("?")[0]),
        )
