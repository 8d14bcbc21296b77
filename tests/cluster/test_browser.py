"""The live page in a real browser, while a run goes on."""

import os
import threading
import time

import pytest
from browser import (
    chromium,
    column,
    errors,
    kill_worker,
    open_page,
    wait_for,
    why_no_browser,
)

import daskgnn
from daskgnn.monitor.plugin import page_link
from daskgnn.nn import GraphSAGE

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(why_no_browser()), reason=why_no_browser()),
]


class Stop(daskgnn.Callback):
    """Slows a run down so that it can be watched, and ends it when asked to."""

    def __init__(self):
        self.asked = threading.Event()

    def window(self, record):
        time.sleep(0.1)
        if self.asked.is_set():
            raise StoppedHere


class StoppedHere(Exception):
    pass


@pytest.fixture
def watched(killable, path):
    """A run in a thread; the address of its page."""
    graph = daskgnn.open_graph(path, num_parts=4)
    model = GraphSAGE(graph.num_features, 16, graph.num_classes)
    stop = Stop()
    options = {"num_neighbors": [5, 5], "batch_size": 16, "window": 4}
    options |= {"client": killable, "progress": None, "callbacks": [stop]}
    trainer = daskgnn.Trainer(model, graph, **options)

    def train():
        with pytest.raises(StoppedHere):
            trainer.fit(epochs=10_000)

    thread = threading.Thread(target=train)
    thread.start()
    yield page_link(killable)
    stop.asked.set()
    thread.join(120)
    assert not thread.is_alive()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_page_moves_and_shows_a_lost_worker(watched, killable, theme, tmp_path):
    with chromium() as browser:
        open_page(browser, f"{watched}?theme={theme}")
        steps = column("loss", "step")
        first = wait_for(browser, f"{steps}.length > 3 ? {steps}.length : 0")
        wait_for(browser, f"{steps}.length > {first} + 3")
        for plot, name in (
            ("scores", "name"),
            ("rate", "seeds"),
            ("phases", "forward"),
            ("parts", "part"),
            ("pairs", "bytes"),
            ("flight", "windows"),
            ("memory", "used"),
        ):
            assert wait_for(browser, f"{column(plot, name)}.length"), plot
        background = browser.execute_script(
            "return getComputedStyle(document.body).backgroundColor"
        )
        assert (background == "rgb(255, 255, 255)") == (theme == "light")
        kill_worker(browser, killable)
        wait_for(browser, f"{column('events', 'kind')}.includes('recovered')")
        picture = tmp_path / "page.png"
        assert browser.save_screenshot(str(picture))
        if folder := os.environ.get("DASKGNN_SCREENSHOTS"):
            picture.rename(os.path.join(folder, f"page-{theme}.png"))
        assert errors(browser) == []
