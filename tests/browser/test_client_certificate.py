"""The workbench by mutual TLS: the browser presents a client certificate, whose rights decide what is there."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from devtools.ports import free_ports
from tests.browser.base import BrowserTestCase, Mouse, browser_of_callers, many, origin_of, own_demo

if TYPE_CHECKING:
    from devtools.browser import Browser


class ClientCertificateTests(BrowserTestCase):
    """The HTTPS listener, with the certificates of several callers."""

    def make_browser(self) -> Browser:
        return browser_of_callers()

    def open_as(self, name: str, path: str) -> None:
        """Open a page with the certificate of this name."""
        self.browser.open(f"{origin_of(name)}{path}")

    def test_all_rights(self) -> None:
        """Whoever has all rights reads and replays. The footer says who that is; the demo's button is not there."""
        self.demo.park(many(2))
        self.open_as("client", "/workbench")
        self.browser.until_text("Live", "#live")
        self.browser.until_text("You are initiator", "footer")
        self.assertEqual([], self.browser.all("[data-failures]"))
        self.open_as("client", "/workbench/parking?queue=fib")
        self.assertIn("CUDA out of memory", self.browser.text())
        hands = Mouse(self.browser)
        hands.use("[data-act=replay][data-what=all]")
        hands.use("#confirm-yes")
        self.browser.until_path("/workbench/job?id=")
        self.browser.until_text("2 of 2 messages", "#job")
        self.wait_for_count(0)

    def test_read_alone(self) -> None:
        """Whoever may only read sees all, and has no buttons; the HTTP interface refuses, too."""
        self.expected = ("403",)
        self.demo.park(many(2))
        self.open_as("reader", "/workbench/parking?queue=fib")
        self.assertIn("CUDA out of memory", self.browser.text())
        self.assertEqual([], self.browser.all("[data-act], .mark"))
        self.browser.click(".message-title a")
        self.browser.until_path("/workbench/message?")
        self.assertEqual([], self.browser.all("[data-act]"))
        self.assertEqual(403, self.ask("/v1/parking/fib/replay", '{"all": true}'))
        self.assertEqual(2, self.demo.count())

    def test_replay_without_read(self) -> None:
        """Whoever may only replay sees reasons, times and sizes, and no word of a message; no button drops."""
        self.expected = ("403",)
        self.demo.park(many(2, body=b'{"secret": "hunter2"}', headers={"customer": "hunter2"}))
        self.open_as("sender", "/workbench/parking?queue=fib")
        source = self.browser.driver.page_source
        for secret in ("hunter2", "CUDA", "rq-0000", "predict.any"):
            self.assertNotIn(secret, source)
        self.assertIn("status", self.browser.text())
        self.assertEqual([], self.browser.all("[data-act=drop]"))
        self.assertEqual([], self.browser.all(".message-title a"))
        self.assertEqual([], self.browser.accessibility())
        self.assertEqual(403, self.ask("/v1/parking/fib/drop", '{"all": true, "expected_count": 2}'))
        Mouse(self.browser).use("[data-act=replay][data-what=all]")
        Mouse(self.browser).use("#confirm-yes")
        self.browser.until_path("/workbench/job?id=")
        self.browser.until_text("2 of 2 messages", "#job")

    def test_no_right(self) -> None:
        """Whoever has no right gets no page, and no figures."""
        self.expected = ("403", "/favicon.ico")  # which a browser asks for by itself
        for path in ("", "/parking?queue=fib", "/events", "/static/workbench.js"):
            self.open_as("stranger", f"/workbench{path}")
            self.assertIn("urn:provider-gateway:problem:forbidden", self.browser.driver.page_source)

    def ask(self, path: str, body: str) -> int:
        """The status that a request of the page's script gets."""
        status: int = self.browser.driver.execute_async_script(
            "fetch(arguments[0], {method: 'POST', headers: {'Content-Type': 'application/json'}, body: arguments[1]})"
            ".then((response) => arguments[2](response.status))",
            path,
            body,
        )
        return status


class RestartTests(BrowserTestCase):
    """A process that ends and comes back, while its page is open."""

    expected = (
        "ERR_CONNECTION_REFUSED",
        "ERR_CONNECTION_RESET",
        "ERR_INCOMPLETE_CHUNKED_ENCODING",
        "ERR_EMPTY_RESPONSE",
    )

    def make_browser(self) -> Browser:
        return browser_of_callers()

    def test_restart(self) -> None:
        """The page says that the connection is lost, and shows live figures again once the process is back."""
        (port,) = free_ports(1)
        with ExitStack() as stack:
            first = own_demo(stack, HTTP_PORT=str(port))
            self.browser.open(f"https://localhost:{port}/workbench")
            self.browser.until_text("Live", "#live")
            first.process.kill()
            self.browser.until_text("Trying again", "#live")
        with ExitStack() as stack:
            own_demo(stack, HTTP_PORT=str(port))
            self.browser.until_text("Live", "#live")
            self.browser.complaints(*self.expected)
