"""Every action of the workbench, by mouse, and by the keyboard alone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from selenium.webdriver.common.keys import Keys

from tests.browser.base import PARKING, BrowserTestCase, Keyboard, Mouse, many, parked

if TYPE_CHECKING:
    from collections.abc import Callable

    from devtools.browser import Browser


class _Actions:
    """The actions, with hands that each case has."""

    # What the two cases below have from BrowserTestCase.
    browser: Browser
    demo: Any
    expected: tuple[str, ...]
    open: Callable[[str], None]
    open_queue: Callable[[], None]
    wait_for_count: Callable[[int], None]
    assertEqual: Any
    assertIn: Any
    assertNotIn: Any

    hands: Any

    def confirm(self) -> None:
        """Confirm in the dialog, and wait for the end of the job."""
        self.hands.use("#confirm-yes")
        self.browser.until_path("/workbench/job?id=")
        self.browser.until_text("Done", "#job")

    def test_failures(self) -> None:
        """The demo makes failures on request; the figures show them as they are parked; the link leads to them."""
        self.open("/workbench")
        self.browser.until_text("Live", "#live")
        self.hands.use("[data-failures]")
        self.browser.until_text("Done", "#failures")
        self.browser.until(lambda _: self.browser.text("[data-live='all.parked']") == "12", "there are not 12 parked")
        self.hands.use(".stage.parked a")
        self.browser.until_path("/workbench/parking?queue=fib")
        self.browser.until_text("12 messages", "main")
        for reason, count in (("status", 8), ("reply", 3), ("reply-to", 1)):
            rows = [row.text for row in self.browser.all(".row") if row.text.startswith(f"{reason}\n")]
            self.assertEqual([True], [str(count) in row for row in rows], rows)

    def test_ways(self) -> None:
        """The views lead to each other: skip link, navigation, parking queues, one message, and back."""
        self.demo.park(many(2))
        self.open("/workbench")
        self.hands.use("nav a[href='/workbench/parking']")
        self.browser.until_path("/workbench/parking")
        self.browser.until_text("2 messages")
        self.hands.use(".row")
        self.browser.until_path("/workbench/parking?queue=fib")
        self.hands.use(".message-title a")
        self.browser.until_path("/workbench/message?")
        self.browser.until_text("CUDA out of memory")
        self.hands.use(".back a")
        self.browser.until_path("/workbench/parking?queue=fib")
        self.hands.use("nav a[href='/workbench/send']")
        self.browser.until_path("/workbench/send")
        self.hands.use("nav a[href='/workbench/results']")
        self.browser.until_path("/workbench/results")

    def test_filter(self) -> None:
        """A group is a filter by its reason; the form narrows further; "Show all" ends it."""
        self.demo.park([*many(3), *many(2, reason="timeout"), parked(9, body=b'{"needle": 1}')])
        self.open_queue()
        self.hands.choose("#groups + .rows .row", 0) if isinstance(self.hands, Mouse) else self.hands.use(".row")
        self.browser.until_path("/workbench/parking?queue=fib&reason=status")
        self.browser.until_text("4", "#messages")
        self.hands.write("#f-grep", "n[e]+dle")
        self.hands.use(".filter button[type=submit]")
        self.browser.until_text("Messages 1 to 1 of 1", "#messages")
        self.hands.use(".filter a")
        self.browser.until_text("of 6", "#messages")

    def test_replay_marked(self) -> None:
        """Two messages are marked and sent again: they are served, and the others stay."""
        self.demo.park(many(4))
        self.open_queue()
        self.hands.choose(".mark", 1)
        self.hands.choose(".mark", 1 if isinstance(self.hands, Keyboard) else 3)
        self.browser.until_text("Replay 2 marked", ".actions")
        self.hands.use("[data-act=replay][data-what=marked]")
        self.assertIn("Replay 2 messages?", self.browser.text("#confirm-title"))
        self.hands.write("#confirm-why", "the model is mended")
        self.confirm()
        self.browser.until_text("2 of 2 messages", "#job")
        self.browser.until_text("the model is mended", "#job")
        self.wait_for_count(2)

    def test_drop_marked(self) -> None:
        """All messages of a page are marked in one go, and dropped."""
        self.demo.park(many(3))
        self.open_queue()
        self.hands.mark("#mark-all")
        self.hands.use("[data-act=drop][data-what=marked]")
        self.assertIn("Nothing brings them back", self.browser.text("#confirm-text"))
        self.confirm()
        self.wait_for_count(0)

    def test_replay_all(self) -> None:
        """All messages are sent again, as fast as they may be."""
        self.demo.park(many(5))
        self.open_queue()
        self.hands.use("[data-act=replay][data-what=all]")
        self.hands.write("#confirm-rate", "100")
        self.confirm()
        self.browser.until_text("5 of 5 messages", "#job")
        self.wait_for_count(0)

    def test_drop_what_fits_the_filter(self) -> None:
        """What the filter finds is dropped, and nothing else."""
        self.demo.park([*many(3), *many(2, reason="timeout")])
        self.open("/workbench/parking?queue=fib&reason=timeout")
        self.hands.use("[data-act=drop][data-what=all]")
        self.assertIn("Drop 2 messages that fit the filter?", self.browser.text("#confirm-title"))
        self.confirm()
        self.wait_for_count(3)

    def test_one_message(self) -> None:
        """One message is replayed from its own page, another one dropped."""
        for act, left in (("replay", 1), ("drop", 0)):
            self.demo.purge(PARKING)
            self.demo.park(many(left + 1))
            self.open_queue()
            self.hands.use(".message-title a")
            self.browser.until_path("/workbench/message?")
            self.hands.use(f"[data-act={act}][data-what=one]")
            self.confirm()
            self.wait_for_count(left)

    def test_second_thoughts(self) -> None:
        """Cancel and Escape do nothing, and lead back to the button."""
        self.demo.park(many(2))
        self.open_queue()
        button = "[data-act=drop][data-what=all]"
        self.hands.use(button)
        self.browser.press(Keys.ENTER)  # the focus is on "Cancel"
        self.browser.until(lambda _: not self.browser.all("#confirm"), "the dialog is not closed")
        self.hands.use(button)
        self.browser.press(Keys.ESCAPE)
        self.browser.until(lambda _: not self.browser.all("#confirm"), "the dialog is not closed")
        focused = self.browser.driver.switch_to.active_element
        self.assertEqual(("drop", "all"), (focused.get_attribute("data-act"), focused.get_attribute("data-what")))
        self.assertEqual(2, self.demo.count())

    def test_count_changed(self) -> None:
        """What was parked since the page was loaded is not dropped with the rest: the dialog says so."""
        self.expected = ("409",)
        self.demo.park(many(2))
        self.open_queue()
        self.demo.park([parked(7)])
        self.hands.use("[data-act=drop][data-what=all]")
        self.hands.use("#confirm-yes")
        self.browser.until_text("3", "#confirm-problem")
        self.assertEqual(3, self.demo.count())

    def test_stop_a_job(self) -> None:
        """A slow replay shows how far it is, and is stopped: what was not sent stays."""
        self.demo.park(many(40))
        self.open_queue()
        self.hands.use("[data-act=replay][data-what=all]")
        self.hands.write("#confirm-rate", "2")
        self.hands.use("#confirm-yes")
        self.browser.until_path("/workbench/job?id=")
        self.browser.until(lambda _: self.browser.text("[data-job=done]") not in {"", "0"}, "nothing is sent")
        self.hands.use("#cancel-job")
        self.browser.until_text("Stopped", "#job")
        self.browser.until(lambda _: 20 < self.demo.count() < 40, "what was not sent is not parked")

    def test_send(self) -> None:
        """The form sends a request, and shows the answer of the model."""
        self.open("/workbench/send")
        self.hands.write("#s-key", "predict.any")
        self.hands.write("#s-body", '{"data": [29, 29]}')
        self.hands.use("#send button[type=submit]")
        self.browser.until_text("Status 200", "#answer-status")
        self.assertEqual({"result": 500938}, json.loads(self.browser.text("#answer-body")))


class MouseTests(_Actions, BrowserTestCase):
    """By mouse."""

    def setUp(self) -> None:
        super().setUp()
        self.hands = Mouse(self.browser)


class KeyboardTests(_Actions, BrowserTestCase):
    """By the keyboard alone: each thing can be reached by the tab key, and its focus is seen."""

    def setUp(self) -> None:
        super().setUp()
        self.hands = Keyboard(self.browser)

    def test_skip_link(self) -> None:
        """The first stop of the tab key leads over the navigation to the content."""
        self.open("/workbench")
        self.browser.press(Keys.TAB)
        self.assertEqual("Skip to the content", self.browser.driver.switch_to.active_element.text)
        self.browser.press(Keys.ENTER)
        self.assertEqual("main", self.browser.driver.switch_to.active_element.get_attribute("id"))
