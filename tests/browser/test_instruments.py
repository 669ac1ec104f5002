"""The instruments of this suite see what is wrong: with a page that does everything wrong."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

from twisted.trial.unittest import SynchronousTestCase

from tests.browser.base import browser

_WRONG = b"""<!doctype html>
<html>
<head><title>Wrong</title><link rel="icon" href="data:,"><link rel="stylesheet" href="http://127.0.0.1:9/foreign.css"></head>
<body>
<script>alert("inline")</script>
<script type="module" src="/script.js"></script>
<p><img src="/image.png"></p>
<p><button tabindex="-1" id="unreachable">No key leads here</button> <a href="#" id="plain">A link</a></p>
<pre>%s</pre>
</body>
</html>
""" % (b"wide " * 200)
_SCRIPT = b"""
alert("from a script");
document.querySelector("#plain").style.outline = "none";
setTimeout(() => { throw new Error("late"); });
Promise.reject(new Error("forgotten"));
"""


class _WrongPage(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        is_script = self.path == "/script.js"
        self.send_response(200 if is_script or self.path == "/" else 404)
        self.send_header("Content-Type", "text/javascript" if is_script else "text/html")
        self.send_header("Content-Security-Policy", "script-src 'self'; style-src-attr 'unsafe-inline'")
        self.end_headers()
        self.wfile.write(_SCRIPT if is_script else _WRONG)

    def log_message(self, *_: object) -> None:
        pass


class InstrumentsTests(SynchronousTestCase):
    """A page with errors of each kind that the other tests look for."""

    def setUp(self) -> None:
        server = HTTPServer(("127.0.0.1", 0), _WrongPage)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        self.browser = browser()
        self.browser.complaints()
        self.browser.open(f"http://127.0.0.1:{server.server_port}/")

    def test_complaints(self) -> None:
        """Inline scripts, dialogs, errors of scripts and requests to other hosts are complaints, each told once."""
        complaints = "\n".join(self.browser.complaints())
        for part in (
            "CSP script-src-elem: inline",
            "alert from a script",
            "error Uncaught Error: late",
            "rejection Error: forgotten",
            "404",
            "a request to http://127.0.0.1:9/foreign.css",
        ):
            self.assertIn(part, complaints)
        self.assertNotIn("alert inline", complaints)
        self.assertEqual([], self.browser.complaints())

    def test_accessibility(self) -> None:
        """An image without a text, and a page without a language, are violations."""
        found = "\n".join(self.browser.accessibility())
        for rule in ("image-alt: ", "html-has-lang: "):
            self.assertIn(rule, found)
        self.browser.complaints()

    def test_layout(self) -> None:
        """A line that is wider than the window is found."""
        for width in (1280, 360):
            self.browser.view(width)
            self.assertIn("PRE", "".join(self.browser.sideways()))
        self.browser.view(1280)
        self.browser.complaints()

    def test_keyboard(self) -> None:
        """A button that the tab key does not reach is found, and so is a focus that cannot be seen."""
        for selector, why in (("#unreachable", "does not lead to"), ("#plain", "cannot be seen")):
            error = self.assertRaises(AssertionError, self.browser.tab_to, selector)
            self.assertIn(why, str(error))
        self.browser.complaints()
