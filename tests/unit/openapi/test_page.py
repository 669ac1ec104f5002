"""The page that shows a document."""

from __future__ import annotations

import base64
import re
from hashlib import sha256
from html.parser import HTMLParser
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from provider_gateway.openapi.document import openapi_document
from provider_gateway.openapi.operation import Answer, Body, Operation, Parameter
from provider_gateway.openapi.page import page_of
from provider_gateway.openapi.page_style import PAGE_HEADERS
from provider_gateway.openapi.page_text import paragraphs, type_text

#: What would be a script, or break out of an attribute, if it were not escaped.
HOSTILE = "</code><script>alert(1)</script>\"' onload=x `<b>`"
_VOID = {"meta", "link", "br"}


class Outline(HTMLParser):
    """Reads a page: checks that elements are closed in order, and collects ids, targets and names of elements."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.names: set[str] = set()
        self.ids: list[str] = []
        self.targets: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        if tag not in _VOID:
            self.open.append(tag)
        for name, value in attrs:
            assert not name.startswith("on"), name
            if name == "id":
                self.ids.append(value or "")
            if name in ("href", "src"):
                self.targets.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, tag


def page(**values: Any) -> tuple[str, Outline]:
    """The page of a document with one operation, and what is on it."""
    usual = {"id": "it", "tag": "things", "summary": "Do it", "answers": {"200": Answer(description="Done.")}}
    operation = Operation(**{**usual, **values})
    document = openapi_document(
        {("POST", "/things/{id}"): operation},
        title="t",
        description="First.\n\n- one\n- `two`",
        tags={"things": "Things."},
        schemas={"Thing": {"type": "object", "properties": {"a": {"type": "string"}}, "description": "A thing."}},
        has_tls=True,
    )
    text = page_of(document)
    outline = Outline()
    outline.feed(text)
    assert outline.open == [], outline.open
    return text, outline


class PageTests(SynchronousTestCase):
    """The page of a document."""

    def test_contents(self) -> None:
        """The page has operations, parameters, bodies, responses and schemas, with links between them."""
        key = Parameter(name="key", where="header", description="A key.", required=True, examples=("a b",))
        text, outline = page(
            parameters=(key,),
            body=Body(description="It.", content={"application/json": {"$ref": "#/components/schemas/Thing"}}),
            description="More.",
        )
        for part in ("<p>More.</p>", "A key.", "header, required", "<p>It.</p>", "<code>403</code>", "A thing."):
            self.assertIn(part, text)
        self.assertIn(
            "-H &#x27;key: a b&#x27; --data-binary @body &#x27;https://localhost:5050/things/{id}&#x27;", text
        )
        self.assertIn("--cert client_cert.pem", text)
        self.assertEqual(len(outline.ids), len(set(outline.ids)))
        inside = [target[1:] for target in outline.targets if target.startswith("#")]
        self.assertIn("it", inside)
        self.assertIn("schema-Thing", inside)
        self.assertEqual(set(inside) - set(outline.ids), set())

    def test_nothing_is_loaded(self) -> None:
        """There is no script, and nothing of another host; the page links to itself and to the document."""
        _, outline = page()
        self.assertEqual(outline.names & {"script", "link", "img", "iframe", "form", "object"}, set())
        self.assertEqual([each for each in outline.targets if not each.startswith(("#", "/"))], [])

    def test_hostile_texts(self) -> None:
        """Whatever texts a queue file brings, they stay texts."""
        parameter = Parameter(name=HOSTILE, where="header", description=HOSTILE, examples=(HOSTILE,), required=True)
        text, outline = page(
            id=HOSTILE,
            summary=HOSTILE,
            description=HOSTILE,
            parameters=(parameter,),
            body=Body(description=HOSTILE, content={HOSTILE: {"enum": [HOSTILE]}}),
            answers={
                "200": Answer(description=HOSTILE, headers={HOSTILE: ""}, content={HOSTILE: {"pattern": HOSTILE}})
            },
        )
        self.assertNotIn("<script", text)
        self.assertNotIn("script", outline.names)

    def test_style_is_allowed(self) -> None:
        """The policy allows the one style of the page, and nothing else."""
        text, _ = page()
        (style,) = re.findall("<style>(.*)</style>", text, re.DOTALL)
        wanted = base64.b64encode(sha256(style.encode()).digest()).decode()
        policy = PAGE_HEADERS["Content-Security-Policy"]
        self.assertIn(f"style-src 'sha256-{wanted}'", policy)
        self.assertTrue(policy.startswith("default-src 'none';"))
        self.assertNotIn("unsafe", policy)


class TextTests(SynchronousTestCase):
    """Texts and schemas in words."""

    def test_paragraphs(self) -> None:
        """Paragraphs, lists and code spans become HTML; everything else is text."""
        for text, expected in (
            ("", ""),
            ("a\n\nb", "<p>a</p><p>b</p>"),
            ("- a\n- `b`", "<ul><li>a</li><li><code>b</code></li></ul>"),
            ("a & `<b>`", "<p>a &amp; <code>&lt;b&gt;</code></p>"),
        ):
            self.assertEqual(paragraphs(text), expected)

    def test_types(self) -> None:
        """Schemas are told in a few words."""
        for schema, expected in (
            ({}, "anything"),
            ({"type": ["string", "null"]}, "string or null"),
            ({"type": "integer", "minimum": 1, "maximum": 9, "default": 2}, "integer from 1 to 9 by default 2"),
            ({"const": True}, "<code>true</code>"),
            ({"enum": ["a", "b"]}, "<code>&quot;a&quot;</code> or <code>&quot;b&quot;</code>"),
            ({"type": "array", "items": {"$ref": "#/components/schemas/A"}}, 'list of <a href="#schema-A">A</a>'),
            ({"anyOf": [{"type": "string"}, {}]}, "string or anything"),
        ):
            self.assertEqual(type_text(schema), expected)
