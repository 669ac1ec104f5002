"""The workbench when not all is well: many messages, a lost connection, somebody else at the queue."""

from __future__ import annotations

import signal
import time

from tests.browser.base import BrowserTestCase, many, parked

#: Messages of the large queue, and seconds until they are shown, with room for a busy machine.
MANY, SECONDS = 50_000, 60


class ManyMessagesTests(BrowserTestCase):
    """A parking queue with 50,000 messages."""

    def test_many(self) -> None:
        """They are counted by reason, shown in pages, and left as they are."""
        self.demo.park([*many(MANY - 1), parked(0, reason="timeout")])
        began = time.monotonic()
        self.open_queue()
        self.browser.until_text("50,000 messages")
        self.assertLess(time.monotonic() - began, SECONDS)
        self.browser.until_text("49,999 messages", "#groups + .rows")
        self.browser.click("[rel=next]")
        self.browser.until_path("/workbench/parking?queue=fib&after=")
        self.assertEqual([], self.browser.sideways())
        self.browser.until_text("Messages 101 to 200 of 50,000")
        self.wait_for_count(MANY)


class ConnectionTests(BrowserTestCase):
    """A connection that comes and goes."""

    expected = ("ERR_INTERNET_DISCONNECTED",)

    def test_frozen(self) -> None:
        """A process that says nothing any more is noticed, as is a network that is gone; the figures go on later."""
        self.open("/workbench")
        self.browser.until_text("Live", "#live")
        self.demo.process.send_signal(signal.SIGSTOP)
        self.addCleanup(self.demo.process.send_signal, signal.SIGCONT)
        self.browser.until_text("Nothing has come for a while.", "#live")
        self.browser.until_text("These figures are of", "#live")
        self.demo.process.send_signal(signal.SIGCONT)
        self.browser.until_text("Live", "#live")
        self.demo.park(many(3))
        self.browser.until(lambda _: self.browser.text("[data-live='all.parked']") == "3", "the figures stand still")

    def test_action_without_connection(self) -> None:
        """A replay without a connection says so in its dialog; nothing is done; a second try works."""
        self.demo.park(many(2))
        self.open_queue()
        self.browser.offline(True)
        self.addCleanup(self.browser.offline, False)
        self.browser.click("[data-act=drop][data-what=all]")
        self.browser.click("#confirm-yes")
        self.browser.until_text("The connection is lost", "#confirm-problem")
        self.browser.offline(False)
        self.assertEqual(2, self.demo.count())
        self.browser.click("#confirm-yes")
        self.browser.until_path("/workbench/job?id=")
        self.browser.until_text("Done", "#job")
        self.wait_for_count(0)
