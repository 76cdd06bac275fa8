"""A headless Chromium of the system, and pages in it."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest

# WebGL without a GPU; nothing that a browser does on its own may reach a network.
ARGUMENTS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-dev-shm-usage", "--no-first-run", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
    "--force-prefers-reduced-motion",
)  # fmt: skip
# Said by the graphics library and by the browser of Plotly, whatever the page does.
FOREIGN = ("GL Driver Message", "willReadFrequently", "GroupMarkerNotSet", "Automatic fallback to software WebGL")


class Page:
    """An open page.

    Attributes
    ----------
    driver : selenium.webdriver.Chrome
    """

    def __init__(self, driver):
        self.driver = driver

    def run(self, script, *arguments):
        """What a script returns; it may be a promise."""
        return self.driver.execute_script(script, *arguments)

    def wait(self, script, *arguments):
        """Until a script returns something true, which is the result."""
        from selenium.webdriver.support.ui import WebDriverWait

        return WebDriverWait(self.driver, 60, 0.1).until(lambda _: self.run(f"return {script}", *arguments))

    def show(self, panel):
        """Bring a panel onto the screen and wait until it is drawn and follows the slider."""
        self.run("document.getElementById(`panel-${arguments[0]}`).scrollIntoView({block: 'center'})", panel)
        self.wait(
            "(p => Boolean(p.querySelector('.absent') || p.querySelector('.plot')._fullLayout?.width))"
            "(document.getElementById(`panel-${arguments[0]}`))",
            panel,
        )

    def move(self, position):
        """Put the slider to a position and wait for two frames of the screen."""
        self.driver.execute_async_script(
            "const [position, done] = arguments; const slider = document.getElementById('time');"
            "slider.value = position; slider.dispatchEvent(new Event('input'));"
            "requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 50)));",
            position,
        )

    def complaints(self):
        """What the console says, but for what is not the page's doing."""
        found = [entry["message"] for entry in self.driver.get_log("browser")]
        return [text for text in found if not any(part in text for part in FOREIGN)]


@pytest.fixture(scope="session")
def open_page():
    """open_page(path, width, height, scheme="light", webgl=True) → context with a Page."""
    program, driver_program = shutil.which("chromium"), shutil.which("chromedriver")
    if program is None or driver_program is None:
        pytest.skip("needs chromium and chromedriver (Debian: apt-get install chromium chromium-driver)")
    os.environ["SE_OFFLINE"] = "true"  # selenium looks for nothing on the network
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    @contextmanager
    def opened(path, width=1280, height=900, scheme="light", webgl=True):
        options = webdriver.ChromeOptions()
        options.binary_location = program
        for argument in (*ARGUMENTS, *(() if webgl else ("--disable-3d-apis",))):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        driver = webdriver.Chrome(options=options, service=Service(driver_program))
        try:
            metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
            driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
            features = [{"name": "prefers-color-scheme", "value": scheme}]
            driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
            driver.get_log("performance")
            driver.get(f"file://{path}")
            yield Page(driver)
        finally:
            driver.quit()

    return opened


def addresses(entries):
    """What the pages of a performance log have asked for, but for themselves and what they hold."""
    import json

    events = [json.loads(entry["message"])["message"] for entry in entries]
    found = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    return [url for url in found if urlsplit(url).scheme not in ("data", "blob") and not url.endswith(".html")]


@pytest.fixture(scope="session")
def addresses_of():
    """See :func:`addresses`."""
    return addresses
