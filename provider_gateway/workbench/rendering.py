"""Pages from templates: every value is escaped, and every response forbids what the page does not need."""

from __future__ import annotations

from functools import cached_property
from importlib.resources import files
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from provider_gateway.errors import NotFound
from provider_gateway.http_server.problems import with_length
from provider_gateway.workbench import texts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jinja2 import Environment

_PACKAGE = "provider_gateway.workbench"
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",  # addresses have names of queues and ids in them
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}


def protect(request: Any) -> None:
    """Set the headers that every response of the page has."""
    for name, value in _HEADERS.items():
        request.setHeader(name, value)


def quoted(text: str) -> str:
    """A text as part of a query or a path; lone surrogates stand for the bytes that they come from."""
    return quote(text, safe="", errors="surrogateescape")


class Rendering:
    """Renders templates, and has the files that pages need.

    Args:
        everywhere: values that every template uses.
    """

    def __init__(self, everywhere: Mapping[str, object]) -> None:
        self._everywhere = everywhere
        self._static = {
            each.name: (_TYPES[each.name[each.name.rindex(".") :]], each.read_bytes())
            for each in files(_PACKAGE).joinpath("static").iterdir()
        }

    @cached_property
    def _environment(self) -> Environment:
        # Made, and imported, with the first page: most processes never show one.
        from jinja2 import Environment, PackageLoader, StrictUndefined  # noqa: PLC0415 - see above

        # The templates are HTML: what is put into them is escaped, whatever the name of the file. A value that a route
        # has forgotten is an error, and no empty text.
        environment = Environment(
            loader=PackageLoader(_PACKAGE),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.filters |= {
            "shown": texts.visible,
            "short": texts.short,
            "number": texts.number,
            "count": texts.count,
            "times": texts.times,
            "rate": texts.rate,
            "duration": texts.duration,
            "age": texts.age,
            "time": texts.time,
            "iso": texts.iso,
            "size": texts.size,
            "reason": texts.reason,
            "preview": texts.preview,
            "quoted": quoted,
        }
        environment.globals |= self._everywhere
        return environment

    def page(self, request: Any, template: str, **values: object) -> bytes:
        """Respond with a page."""
        html = self._environment.get_template(template).render(values)
        return with_length(request, "text/html; charset=utf-8", html.encode("utf-8", "backslashreplace"))

    def static(self, request: Any, name: str) -> bytes:
        """Respond with a file that pages need.

        Raises:
            NotFound: there is no such file.
        """
        if name not in self._static:
            msg = "There is nothing at this path."
            raise NotFound(msg)
        return with_length(request, *self._static[name])
