"""Shows an OpenAPI document as a page: HTML made here, which needs no script, and no other host."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from provider_gateway.openapi.page_style import STYLE
from provider_gateway.openapi.page_text import escaped, paragraphs, type_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_FILES = "--cacert cacert.pem --cert client_cert.pem --key client_key.pem "


def page_of(document: Mapping[str, Any]) -> str:
    """The page.

    Args:
        document: as :func:`.openapi_document` makes it. Every text of it is escaped.
    """
    info = document["info"]
    title = f"{escaped(info['title'])} {escaped(info['version'])}"
    by_tag = {tag["name"]: tag["description"] for tag in document["tags"]}
    operations = [
        (method.upper(), path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    parts = [
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>',
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body>',
        f'<header><h1>{title}</h1><p class="soft">OpenAPI {escaped(document["openapi"])}:',
        '<a href="/openapi.json">openapi.json</a></p></header><main>',
        paragraphs(info["description"]),
        "<nav><h2>Operations</h2><ul>",
        *(_entry(method, path, operation) for method, path, operation in operations),
        "</ul></nav>",
    ]
    shows_files = "security" in document
    for tag, description in by_tag.items():
        parts.append(f"<section><h2>{escaped(tag)}</h2>{paragraphs(description)}")
        parts += [
            _article(method, path, operation, document["components"], shows_files=shows_files)
            for method, path, operation in operations
            if operation["tags"] == [tag]
        ]
        parts.append("</section>")
    parts.append("<section><h2>Schemas</h2>")
    parts += [_schema(name, schema) for name, schema in document["components"]["schemas"].items()]
    parts.append("</section></main></body></html>\n")
    return "\n".join(part for part in parts if part)


def _entry(method: str, path: str, operation: Mapping[str, Any]) -> str:
    where = escaped(operation["operationId"])
    return f'<li><a href="#{where}"><code>{method} {escaped(path)}</code></a></li>'


def _article(
    method: str, path: str, operation: Mapping[str, Any], components: Mapping[str, Any], *, shows_files: bool
) -> str:
    parts = [
        f'<article id="{escaped(operation["operationId"])}">',
        f'<h3><code><span class="method">{method}</span> {escaped(path)}</code></h3>',
        f"<p><strong>{escaped(operation['summary'])}</strong></p>",
        paragraphs(operation.get("description", "")),
        f"<pre>{escaped(_curl(method, path, operation, shows_files=shows_files))}</pre>",
        _table(
            "Parameters",
            (
                (
                    f"<code>{escaped(each['name'])}</code>",
                    f"{each['in']}{', required' if each.get('required') else ''}",
                    f"{paragraphs(each['description'])}{type_text(each['schema'])}",
                )
                for each in operation.get("parameters", ())
            ),
        ),
    ]
    if (body := operation.get("requestBody")) is not None:
        parts.append(f"<h4>Body</h4>{paragraphs(body['description'])}{_content(body['content'])}")
    responses = (
        (f"<code>{escaped(status)}</code>", *_response(_resolved(response, components)))
        for status, response in operation["responses"].items()
    )
    parts += [_table("Responses", responses), "</article>"]
    return "\n".join(part for part in parts if part)


def _curl(method: str, path: str, operation: Mapping[str, Any], *, shows_files: bool) -> str:
    """A command to try: with what is required, and the first value that is known of it."""
    headers = [
        f"{each['name']}: {_known(each)}"
        for each in operation.get("parameters", ())
        if each["in"] == "header" and each.get("required")
    ]
    body = operation.get("requestBody", {}).get("content", {})
    if body:
        media_type = next(iter(body))
        headers.insert(0, f"Content-Type: {media_type}")
    options = "".join(f"-H {shlex.quote(header)} " for header in headers)
    data = "--data-binary @body " if body else ""
    asked = "" if method in ("GET", "POST") else f"-X {method} "
    files = _FILES if shows_files else ""
    scheme = "https" if shows_files else "http"
    return f"curl {files}{asked}{options}{data}{shlex.quote(f'{scheme}://localhost:5050{path}')}"


def _known(parameter: Mapping[str, Any]) -> str:
    return str(next(iter(parameter.get("examples", ())), "…"))


def _table(heading: str, rows: Iterable[tuple[str, str, str]]) -> str:
    body = "".join(
        f'<tr><th scope="row">{first}</th><td>{second}</td><td>{third}</td></tr>' for first, second, third in rows
    )
    return f"<h4>{heading}</h4><table>{body}</table>" if body else ""


def _response(response: Mapping[str, Any]) -> tuple[str, str]:
    headers = ", ".join(f"<code>{escaped(name)}</code>" for name in response.get("headers", {}) if name != "RqUID")
    with_headers = f'<p class="soft">Headers: {headers}</p>' if headers else ""
    return f"{paragraphs(response['description'])}{with_headers}", _content(response.get("content", {}))


def _content(content: Mapping[str, Any]) -> str:
    items = "".join(
        f"<li><code>{escaped(media_type)}</code>: {type_text(each['schema'])}</li>"
        for media_type, each in content.items()
    )
    return f"<ul>{items}</ul>" if items else ""


def _resolved(value: Mapping[str, Any], components: Mapping[str, Any]) -> Mapping[str, Any]:
    """A response, or the one among the components that it refers to."""
    reference = value.get("$ref")
    if reference is None:
        return value
    found: Mapping[str, Any] = components["responses"][reference.rpartition("/")[2]]
    return found


def _schema(name: str, schema: Mapping[str, Any]) -> str:
    required = schema.get("required", ())
    rows = (
        (
            f"<code>{escaped(key)}</code>",
            "" if key in required else "optional",
            f"{type_text(value)}{paragraphs(value.get('description', ''))}",
        )
        for key, value in schema.get("properties", {}).items()
    )
    return (
        f'<article id="schema-{escaped(name)}"><h3>{escaped(name)}</h3>'
        f"{paragraphs(schema.get('description', ''))}{_table('Members', rows)}</article>"
    )
