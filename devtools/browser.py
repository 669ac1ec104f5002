"""Debian's Chromium, driven by its chromedriver: opens pages, uses mouse and keyboard, and tells what went wrong.

Whatever a page complains about is kept: errors of scripts, violations of its Content-Security-Policy, dialogs, requests
to other hosts. Nothing is downloaded.
"""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from selenium.common.exceptions import TimeoutException, WebDriverException
from selenium.webdriver import ActionChains, Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from devtools import axe_core

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from selenium.webdriver.remote.webelement import WebElement

#: Seconds that a page gets for what is to happen.
PATIENCE = 20
#: What a page complains about is written to the console, which outlives the page.
_LISTENERS = """
const tell = (what) => console.error(`page: ${what}`);
addEventListener("securitypolicyviolation", (e) => tell(`CSP ${e.violatedDirective}: ${e.blockedURI} ${e.sample}`));
addEventListener("error", (e) => tell(`error ${e.message ?? ""} ${e.target?.src ?? ""}`), true);
addEventListener("unhandledrejection", (e) => tell(`rejection ${e.reason}`));
for (const name of ["alert", "confirm", "prompt", "print"]) globalThis[name] = (text) => tell(`${name} ${text}`);
"""
#: Standards of axe-core's rules: the levels A and AA of WCAG 2.0 to 2.2.
_LEVELS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22a", "wcag22aa"]
#: Ends of the page that the tab key passes on its way to an element, at most.
_ROUNDS = 2


class NoBrowser(Exception):
    """Chromium or its driver cannot be started; the text says why and what to do."""


class Browser:
    """One browser with an empty profile, and one window.

    Args:
        home: folder for the profile; is created.
        command: of chromedriver, with its full path; None for Debian's.
        options: of Chromium, beside those that every browser here has.
        patience: seconds that a page gets for what is to happen.
    """

    def __init__(
        self, home: Path, *, command: str | None = None, options: tuple[str, ...] = (), patience: float = PATIENCE
    ) -> None:
        chromium, driver = shutil.which("chromium"), command or shutil.which("chromedriver")
        if chromium is None or driver is None:
            msg = "chromium and chromedriver are needed: apt-get install chromium chromium-driver"
            raise NoBrowser(msg)
        home.mkdir(parents=True, exist_ok=True)
        chosen = ChromeOptions()
        chosen.binary_location = chromium
        for option in (
            "--headless=new",
            "--no-sandbox",  # root has none, and the pages are ours
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--no-first-run",
            "--lang=en",
            f"--user-data-dir={home / 'profile'}",
            *options,
        ):
            chosen.add_argument(option)
        chosen.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        environment = {**os.environ, "HOME": str(home), "LANG": "C.UTF-8", "TZ": "UTC"}
        for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME"):
            environment.pop(name, None)
        try:
            self.driver = Chrome(options=chosen, service=Service(driver, env=environment))
        except WebDriverException as error:
            msg = f"Chromium cannot be started: {error.msg}"
            raise NoBrowser(msg) from None
        self._wait: WebDriverWait[Any] = WebDriverWait(self.driver, patience, poll_frequency=0.05)
        self._axe: str | None = None
        self._cdp("Page.addScriptToEvaluateOnNewDocument", source=_LISTENERS)
        self.view(1280)

    def close(self) -> None:
        """End the browser."""
        self.driver.quit()

    def _cdp(self, command: str, **arguments: Any) -> Any:
        return self.driver.execute_cdp_cmd(command, arguments)

    # --- What is shown -----------------------------------------------------------------------------------------------

    def view(self, width: int, height: int = 900, *, dark: bool = False) -> None:
        """Set the size of the window in CSS pixels, and the color scheme that the user prefers."""
        self._cdp(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        motion = {"name": "prefers-reduced-motion", "value": "reduce"}
        self._cdp("Emulation.setEmulatedMedia", features=[scheme, motion])

    def open(self, url: str) -> None:
        """Open an address, and wait until the page is loaded."""
        self.driver.get(url)

    @property
    def path(self) -> str:
        """Path and query of the address."""
        parts = urlsplit(self.driver.current_url)
        return parts.path + (f"?{parts.query}" if parts.query else "")

    def find(self, selector: str) -> WebElement:
        """The element, once it is there and visible."""

        def visible(_: object) -> WebElement | None:
            found = self.driver.find_elements(By.CSS_SELECTOR, selector)
            return next((each for each in found if each.is_displayed()), None)

        element: WebElement = self.until(visible, f"{selector} is not there")
        return element

    def all(self, selector: str) -> list[WebElement]:
        """The visible elements that are there now."""
        return [each for each in self.driver.find_elements(By.CSS_SELECTOR, selector) if each.is_displayed()]

    def text(self, selector: str = "main") -> str:
        """The visible text of an element."""
        text: str = self.find(selector).text
        return text

    def until(self, condition: Callable[[Any], Any], otherwise: str) -> Any:
        """Wait for a true result of a function of the driver, and return it.

        Raises:
            AssertionError: it stays false.
        """
        try:
            return self._wait.until(condition)
        except TimeoutException:
            shown = self.driver.find_element(By.TAG_NAME, "body").text[:3000]
            msg = f"{otherwise}, at {self.path}. The page says:\n{shown}"
            raise AssertionError(msg) from None

    def until_text(self, text: str, selector: str = "main") -> None:
        """Wait until an element has a text."""
        self.until(lambda _: text in self.text(selector), f"{text!r} is not in {selector}")

    def until_path(self, beginning: str) -> None:
        """Wait until the page with this address is loaded."""
        self.until(
            lambda driver: (
                self.path.startswith(beginning) and driver.execute_script("return document.readyState") == "complete"
            ),
            f"{beginning} is not reached",
        )

    def sideways(self) -> list[str]:
        """What reaches beyond the sides of the window, so that it can be scrolled sideways; empty if nothing does."""
        found: list[str] = self.driver.execute_script(
            """
            const width = document.documentElement.clientWidth;
            if (document.documentElement.scrollWidth <= width) return [];
            return [...document.querySelectorAll("body *")]
              .filter((each) => each.getBoundingClientRect().left + each.scrollWidth > width + 1)
              .map((each) => `${each.tagName}.${each.className}: ${each.textContent.trim().slice(0, 60)}`).slice(-5)
              .concat(`the page is ${document.documentElement.scrollWidth} wide`);
            """
        )
        return found

    def accessibility(self) -> list[str]:
        """What axe-core finds against the levels A and AA of WCAG, one line for each element."""
        if self._axe is None:
            self._axe = axe_core.source()
        if not self.driver.execute_script("return typeof axe === 'object'"):
            self.driver.execute_script(self._axe)
        result: Any = self.driver.execute_async_script(
            "const done = arguments[1]; axe.run(document, {runOnly: {type: 'tag', values: arguments[0]}})"
            ".then(done, (error) => done({error: String(error)}))",
            _LEVELS,
        )
        if "error" in result:
            return [result["error"]]
        return [
            f"{violation['id']}: {node['failureSummary']}\n  {node['html'][:200]}"
            for violation in result["violations"]
            for node in violation["nodes"]
        ]

    def complaints(self, *expected: str) -> list[str]:
        """What pages have complained about since the last call, and requests to other hosts than the page's.

        Args:
            expected: parts of lines that do not count.
        """
        lines = [
            entry["message"] for entry in self.driver.get_log("browser") if entry["level"] in {"SEVERE", "WARNING"}
        ]
        host = urlsplit(self.driver.current_url).netloc
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                url = urlsplit(message["params"]["request"]["url"])
                if url.scheme in {"http", "https", "ws", "wss"} and url.netloc != host:
                    lines.append(f"a request to {url.scheme}://{url.netloc}{url.path}")
        return [line for line in lines if not any(part in line for part in expected)]

    def offline(self, is_offline: bool) -> None:
        """Cut the browser's connections, or let it connect again."""
        self._cdp("Network.enable")
        self._cdp(
            "Network.emulateNetworkConditions",
            offline=is_offline,
            latency=0,
            downloadThroughput=-1,
            uploadThroughput=-1,
        )

    # --- Hands -------------------------------------------------------------------------------------------------------

    def click(self, selector: str) -> None:
        """Click on an element with the mouse."""
        self.find(selector).click()

    def press(self, *keys: str, held: str | None = None) -> None:
        """Press keys, one after another, wherever the focus is.

        Args:
            held: a key that is held down meanwhile.
        """
        actions = ActionChains(self.driver)
        if held is not None:
            actions.key_down(held)
        actions.send_keys(*keys)
        if held is not None:
            actions.key_up(held)
        actions.perform()

    def tab_to(self, selector: str) -> None:
        """Move the focus to an element with the tab key alone.

        Raises:
            AssertionError: the key does not lead there, or the focus cannot be seen.
        """
        self.find(selector)
        rounds = 0
        while rounds < _ROUNDS:
            self.press(Keys.TAB)
            is_there, is_seen, is_end = self.driver.execute_script(
                """
                const focused = document.activeElement, style = getComputedStyle(focused);
                const isSeen = style.outlineStyle !== "none" && style.outlineWidth !== "0px";
                return [focused.matches(arguments[0]), isSeen, focused === document.body];
                """,
                selector,
            )
            if is_there and not is_seen:
                msg = f"the focus on {selector} cannot be seen, at {self.path}"
                raise AssertionError(msg)
            if is_there:
                return
            rounds += is_end  # behind the last element, the next round begins
        msg = f"the tab key does not lead to {selector}, at {self.path}"
        raise AssertionError(msg)
