"""Each view of the workbench: accessible, in light and dark, wide and narrow, with any content."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from devtools.axe_core import VERSION
from provider_gateway.demo.failing_messages import failing_messages
from provider_gateway.demo.service import OF_THE_DEMO
from tests.browser.base import BrowserTestCase, many, parked

#: Texts that break pages which do not escape, or do not expect their like.
HOSTILE = (
    "<script>alert(1)</script>",
    "\"'><img src=x onerror=alert(1)><svg onload=alert(2)>",
    "javascript:alert(1)//{{7*7}}{% raise %}${7*7}",
    "</title></style></textarea></script><base href=https://evil.example/><h1 style=position:fixed>",
    "W" * 3000,
    "\u202eevil\u202c\u0000\u0007\u200b\ufeff\u2028\U000e0041 " + "e" + "\u0301" * 200,
    "ﷺ" * 200 + "한글" * 100,
    "&lt;b&gt;&#x3c;i&#x3e;<!--",
)


def hostile_messages() -> list[tuple[bytes, dict[str, Any]]]:
    """Messages with hostile texts in every field that a page may show."""
    made = []
    for number, text in enumerate(HOSTILE):
        short = text.encode()[:255].decode(errors="ignore")  # AMQP: short strings have up to 255 bytes
        headers = {
            "RqUID": text,
            short or "x": text,
            "pg-reason": text,
            "pg-queue": text,
            "pg-routing-key": text,
            "pg-model-error": text,
            "pg-identity": text,
            "table": {short[:100]: [text, {"in": text}, b"\xff\x00<b>"]},
        }
        bodies = (f'{{"a": "{number}", "b": {quote(text)!r}}}', text, f"<html>{text}</html>", f"<svg>{text}</svg>")
        types = ("application/json", short, "text/html", "image/svg+xml")
        kind = number % len(types)
        made.append(
            parked(
                number,
                body=bodies[kind].encode(errors="replace"),
                headers=headers,
                content_type=types[kind],
                content_encoding=short if number % 3 == 0 else None,
                message_id=short,
                correlation_id=short,
                reply_to=short,
                app_id=short,
                type=short,
            )
        )
    return made


class ViewsTests(BrowserTestCase):
    """The views, one after another."""

    def check(self, what: str) -> None:
        """Check the view that is open: wide and dark, narrow and light."""
        for width, dark in ((1280, True), (360, False)):
            self.browser.view(width, dark=dark)
            where = f"{what}, {width} px, {'dark' if dark else 'light'}"
            self.assertEqual([], self.browser.accessibility(), f"{where}, axe-core {VERSION}")
            self.assertEqual([], self.browser.sideways(), where)
        self.browser.view(1280)

    def open_and_check(self, path: str) -> None:
        """Open a view, and check it."""
        self.open(path)
        self.check(path)

    def messages(self) -> list[str]:
        """The paths of the messages of the queue's page."""
        self.open_queue()
        links = self.browser.driver.execute_script(
            "return [...document.querySelectorAll('.message-title a')].map((each) => each.getAttribute('href'))"
        )
        return [str(link) for link in links]

    def test_usual(self) -> None:
        """Overview, parking queues, a queue with several reasons, a form to send, results."""
        self.demo.park([*many(5), *many(3, reason="timeout"), *many(1, reason="reply")])
        self.open("/workbench")
        self.browser.until_text("Live", "#live")
        self.check("/workbench")
        for path in ("parking", "parking?queue=fib", "parking?queue=fib&reason=timeout", "send", "results"):
            self.open_and_check(f"/workbench/{path}")

    def test_empty(self) -> None:
        """An empty queue, a filter that fits nothing, and errors: an unknown queue, a wrong filter, a wrong path."""
        self.expected = ("404", "400", "422")
        self.open_and_check("/workbench/parking?queue=fib")
        self.demo.park(many(1))
        for path in ("?queue=fib&reason=none", "?queue=none", "?queue=fib&since=yesterday", "?queue=fib&grep=("):
            self.open_and_check(f"/workbench/parking{path}")
        self.open_and_check("/workbench/message?queue=fib&id=" + 32 * "0")

    def test_refusal(self) -> None:
        """The page for those without the link of the demo."""
        self.expected = ("403",)
        self.open_and_check("/workbench?token=wrong")

    def test_dialogs(self) -> None:
        """The questions before a replay and a drop."""
        self.demo.park(many(3))
        for act in ("replay", "drop"):
            self.open_queue()
            self.browser.click(f"[data-act={act}][data-what=all]")
            self.browser.find("#confirm-yes")
            self.check(f"{act} dialog")

    def test_job(self) -> None:
        """A job that is over."""
        self.demo.park(many(3))
        self.open_queue()
        self.browser.click("[data-act=drop][data-what=all]")
        self.browser.click("#confirm-yes")
        self.browser.until_path("/workbench/job?id=")
        self.browser.until_text("Done", "#job")
        self.check("job")

    def test_forms_of_bodies(self) -> None:
        """JSON is indented, text has its lines, an image is shown, bytes are hexadecimal."""
        for message in failing_messages(OF_THE_DEMO[0], 0):
            self.demo.park([parked(1, body=message.body, content_type=message.content_type)])
        shown = dict.fromkeys(("json", "text", "hex", "img"), 0)
        for path in self.messages():
            self.open(path)
            for form in shown:
                selector = "img.body" if form == "img" else f"pre.{form}"
                found = self.browser.all(selector)
                if found and not shown[form]:
                    self.check(f"{path} as {form}")
                shown[form] += len(found)
                if found and form == "img":
                    size = self.browser.driver.execute_script("return arguments[0].naturalWidth", found[0])
                    self.assertEqual(96, size)
        self.assertEqual([], [form for form, count in shown.items() if not count], shown)

    def test_hostile(self) -> None:
        """Texts of messages stay texts in each view: nothing is executed, loaded or laid out by them."""
        self.demo.park(hostile_messages())
        self.expected = ("404",)
        for query in ("fib", f"fib&reason={quote(HOSTILE[0])}", quote(HOSTILE[1])):
            self.open_and_check(f"/workbench/parking?queue={query}")
        paths = self.messages()
        self.assertEqual(len(HOSTILE), len(paths))
        for path in paths:
            self.open(path)
            for width in (1280, 360):
                self.browser.view(width)
                self.assertEqual([], self.browser.sideways(), f"{path}, {width} px")
            made = ("main script", "main svg", "main base", "h1 h1", "[onerror]", "[onload]", "iframe")
            self.assertEqual([], [selector for selector in made if self.browser.all(selector)])
            self.assertNotIn("evil.example", self.browser.driver.execute_script("return document.baseURI"))
        self.browser.view(1280)
        self.open(paths[0])
        self.assertEqual([], self.browser.accessibility())
        self.assertIn("<script>alert(1)</script>", self.browser.text("main"))
