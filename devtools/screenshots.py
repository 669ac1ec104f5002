"""Make the screenshots of docs/workbench.md from a running demo: ``python -m devtools.screenshots``."""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import requests
from PIL import Image

from devtools.browser import Browser, NoBrowser
from devtools.demo import Demo
from devtools.processes import ROOT, ProcessError

FOLDER = ROOT / "docs" / "workbench"
_WIDTH = 1200
#: Calls at the same time, and seconds of a call: so the overview has something to show.
_CALLERS, _DELAY = 4, 0.25
#: Seconds until the rates of the last 10 s are steady.
_STEADY = 14
_COLORS = 128


def _call(demo: Demo, is_over: threading.Event) -> None:
    with requests.Session() as session:
        session.trust_env = False  # REQUESTS_CA_BUNDLE would go before ours
        session.verify = str(demo.certs / "cacert.pem")
        session.cert = (str(demo.certs / "client_cert.pem"), str(demo.certs / "client_key.pem"))
        while not is_over.is_set():
            body = {"data": [29, 29], "delay": _DELAY}
            session.post(f"{demo.https}/v1/predict", json=body, headers={"routing-key": "predict.now"}, timeout=30)


def _save(browser: Browser, name: str) -> None:
    """Save the whole page, with few colors: it is mostly text."""
    file = FOLDER / f"{name}.png"
    height = browser.driver.execute_script("return document.documentElement.scrollHeight")
    browser.view(_WIDTH, min(height, 1500))
    browser.driver.save_screenshot(str(file))
    with Image.open(file) as image:
        image.convert("RGB").quantize(_COLORS).save(file, optimize=True)
    browser.view(_WIDTH)
    print(f"{file.relative_to(ROOT)}: {file.stat().st_size / 1000:.0f} KB")


def main() -> None:
    """Make the three screenshots."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        demo = Demo(stack, folder / "demo")
        browser = Browser(folder / "home", options=("--hide-scrollbars",))
        stack.callback(browser.close)
        is_over = threading.Event()
        for _ in range(_CALLERS):
            thread = threading.Thread(target=_call, args=(demo, is_over))
            thread.start()
            stack.callback(thread.join)
        stack.callback(is_over.set)
        FOLDER.mkdir(exist_ok=True)
        browser.view(_WIDTH)
        browser.open(demo.link)
        browser.click("[data-failures]")
        browser.until(lambda _: browser.text("[data-live='all.parked']") == "12", "there are not 12 parked messages")
        time.sleep(_STEADY)
        _save(browser, "overview")
        browser.open(f"{demo.origin}/workbench/parking?queue=fib")
        browser.find(".mark")
        for mark in browser.all(".mark")[:2]:
            mark.click()
        _save(browser, "parked")
        browser.open(f"{demo.origin}/workbench/parking?queue=fib&reason=status")
        browser.click(".message-title a")
        browser.until_path("/workbench/message?")
        _save(browser, "message")


if __name__ == "__main__":
    try:
        main()
    except (NoBrowser, ProcessError) as error:
        sys.exit(str(error))
