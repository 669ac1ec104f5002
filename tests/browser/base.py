"""One demo and one browser for all tests of the suite; messages that are parked; and hands: a mouse or a keyboard."""

from __future__ import annotations

import atexit
import shutil
import tempfile
import time
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selenium.webdriver.common.keys import Keys
from twisted.trial.unittest import SynchronousTestCase

from devtools.browser import Browser
from devtools.client_certificate import browser_with_certificates
from devtools.demo import Demo
from provider_gateway.demo.certificates import add_caller, make_certificates

if TYPE_CHECKING:
    from collections.abc import Iterator

QUEUE = "fib"
PARKING = "fib.parking"
#: Which rights whose certificate has. "client" is the demo's own, of the initiator.
ACCESS = """
- identities: [initiator, reader, sender, stranger]
  routingKeys: ["#"]
- identities: [initiator]
  parking: [read, replay, drop]
  queues: ["*"]
- identities: [reader]
  parking: [read]
  queues: [fib]
- identities: [sender]
  parking: [replay]
  queues: [fib]
"""
NAMES = ("reader", "sender", "stranger")
#: The host name at which the browser with certificates presents each: one server under several names.
HOSTS = {"client": "localhost", **{name: f"{name}.test" for name in NAMES}}


@cache
def stack() -> ExitStack:
    """What the suite has started ends with the process."""
    started = ExitStack()
    atexit.register(started.close)
    return started


@cache
def folder() -> Path:
    """A temporary folder of the suite."""
    made = Path(tempfile.mkdtemp(prefix="provider-gateway-browser-"))
    stack().callback(shutil.rmtree, made, ignore_errors=True)
    return made


@cache
def certs() -> Path:
    """Certificates of one authority for callers of several rights."""
    made = folder() / "certs"
    make_certificates(made, names=tuple(HOSTS.values()), keep_key=True)
    for name in NAMES:
        add_caller(made, name)
    return made


def own_demo(stack: ExitStack, **settings: str) -> Demo:
    """A demo of a test of its own, which accepts the same certificates."""
    own = Path(tempfile.mkdtemp(dir=folder()))
    shutil.copytree(certs(), own / "certs")
    access = own / "access.yaml"
    access.write_text(ACCESS)
    return Demo(stack, own, HTTP_ACCESS=str(access), AUDIT_LOG=str(own / "audit.log"), **settings)


@cache
def demo() -> Demo:
    """The demo of all other tests."""
    return own_demo(stack())


@cache
def browser() -> Browser:
    """A browser that has opened the demo's link."""
    made = Browser(folder() / "home")
    stack().callback(made.close)
    made.open(demo().link)
    return made


def origin_of(name: str) -> str:
    """The origin at which the browser with certificates shows this one: one server under several names."""
    return f"https://{HOSTS[name]}:{demo().https.rpartition(':')[2]}"


@cache
def browser_of_callers() -> Browser:
    """A browser with client certificates."""
    names = {f"https://{host}": name for name, host in HOSTS.items()}
    options = ("--host-resolver-rules=MAP *.test 127.0.0.1",)
    return browser_with_certificates(stack(), folder() / "callers", certs(), names, options=options)


def parked(
    number: int, *, reason: str = "status", body: bytes | None = None, **more: Any
) -> tuple[bytes, dict[str, Any]]:
    """A parked message as the provider publishes it.

    Args:
        number: of the message: for its ids, and its age in minutes.
        more: properties; headers are added to those of a parked message.
    """
    headers = {
        "RqUID": f"rq-{number:05}",
        "pg-attempt": 2,
        "pg-queue": QUEUE,
        "pg-reason": reason,
        "pg-redeliveries": 0,
        "pg-routing-key": "predict.any",
        "pg-parked-at": int(1000 * (time.time() - 60 * number)),
        "pg-model-status": 500,
        "pg-model-error": '{"error": "CUDA out of memory"}',
        **more.pop("headers", {}),
    }
    usual = {"content_type": "application/json", "message_id": f"message-{number}", "delivery_mode": 2}
    given = b'{"data": [%d]}' % (number % 50) if body is None else body
    return given, {**usual, **more, "headers": {name: value for name, value in headers.items() if value is not None}}


def many(count: int, **more: Any) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """So many parked messages, the oldest first."""
    return (parked(number, **more) for number in range(count, 0, -1))


class BrowserTestCase(SynchronousTestCase):
    """A test that begins with empty queues, and at whose end the pages have complained about nothing."""

    #: Parts of complaints that a test provokes.
    expected: tuple[str, ...] = ()

    def setUp(self) -> None:
        self.demo, self.browser = demo(), self.make_browser()
        self.demo.purge(PARKING)
        self.browser.complaints()
        self.browser.view(1280)
        self.addCleanup(self._check_complaints)

    def make_browser(self) -> Browser:
        """The browser of this test."""
        return browser()

    def open(self, path: str) -> None:
        """Open a page of the demo's plain listener."""
        self.browser.open(f"{self.demo.origin}{path}")

    def open_queue(self) -> None:
        """Open the page of the parking queue."""
        self.open(f"/workbench/parking?queue={QUEUE}")

    def wait_for_count(self, count: int) -> None:
        """Wait until so many messages are parked."""
        self.browser.until(lambda _: self.demo.count() == count, f"there are not {count} messages in {PARKING}")

    def _check_complaints(self) -> None:
        self.assertEqual([], self.browser.complaints(*self.expected))


class Mouse:
    """Uses the page with a mouse; the keyboard is for texts alone."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser

    def use(self, selector: str) -> None:
        """Click on a link or button."""
        self._browser.click(selector)

    def mark(self, selector: str) -> None:
        """Click on a checkbox."""
        self._browser.click(selector)

    def write(self, selector: str, text: str) -> None:
        """Replace what a field has."""
        field = self._browser.find(selector)
        field.clear()
        field.send_keys(text)

    def choose(self, selector: str, number: int) -> None:
        """Click on one of several elements."""
        self._browser.find(selector)
        self._browser.all(selector)[number].click()


class Keyboard:
    """Uses the page with the keyboard alone."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser

    def use(self, selector: str) -> None:
        """Tab to a link or button, and press Enter."""
        self._browser.tab_to(selector)
        self._browser.press(Keys.ENTER)

    def mark(self, selector: str) -> None:
        """Tab to a checkbox, and press the space bar."""
        self._browser.tab_to(selector)
        self._browser.press(Keys.SPACE)

    def write(self, selector: str, text: str) -> None:
        """Tab to a field, and replace what it has."""
        self._browser.tab_to(selector)
        self._browser.press("a", held=Keys.CONTROL)
        self._browser.press(text)

    def choose(self, selector: str, number: int) -> None:
        """Tab to one of several elements, and press the space bar."""
        for _ in range(number + 1):
            self._browser.tab_to(selector)
        self._browser.press(Keys.SPACE)
