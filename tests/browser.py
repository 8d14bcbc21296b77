"""A headless Chromium for tests of the live page, and for its screenshot."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from contextlib import contextmanager

MODEL = "Bokeh.documents[0].get_model_by_name"


def why_no_browser():
    """Return why there is none; empty where there is one."""
    if shutil.which("chromium") is None or shutil.which("chromedriver") is None:
        return "no browser: apt-get install chromium chromium-driver"
    try:
        import selenium  # noqa: F401
    except ImportError:
        return "no selenium: pip install selenium"
    return ""


@contextmanager
def chromium(width=1500, height=1050):
    """Yield a browser; it ends with the block."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    with tempfile.TemporaryDirectory() as profile:
        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium")
        for word in (
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            f"--user-data-dir={profile}",
            f"--window-size={width},{height}",
        ):
            options.add_argument(word)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        driver = webdriver.Chrome(options, Service(shutil.which("chromedriver")))
        try:
            yield driver
        finally:
            driver.quit()


def wait_for(driver, script, seconds=60):
    """Wait until a script returns something that is true; return it."""
    from selenium.webdriver.support.ui import WebDriverWait

    def found(browser):
        ready = "typeof Bokeh !== 'undefined' && Bokeh.documents.length > 0"
        return browser.execute_script(f"return ({ready}) ? ({script}) : null")

    return WebDriverWait(driver, seconds, 0.1).until(found)


def column(plot, name):
    """Return the script that reads a column of a plot's data."""
    return f"Array.from({MODEL}('{plot}').renderers[0].data_source.data['{name}'])"


def open_page(driver, link, seconds=60):
    """Open the live page, which is there from a run's beginning on."""
    deadline = time.monotonic() + seconds
    driver.get(link)
    while "daskgnn" not in driver.title and time.monotonic() < deadline:
        time.sleep(0.1)
        driver.get(link)


def kill_worker(driver, client):
    """Kill a worker; return the seconds until the page shows that it is gone."""
    pid = next(iter(client.run(os.getpid).values()))
    gone = f"{column('events', 'name')}.filter(name => name === 'worker gone').length"
    before = driver.execute_script(f"return {gone}")
    killed = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    wait_for(driver, f"{gone} > {before}")
    return time.monotonic() - killed


def errors(driver):
    """Return what the page has written to the console as errors."""
    return [entry for entry in driver.get_log("browser") if entry["level"] == "SEVERE"]
