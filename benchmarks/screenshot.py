"""Take the screenshot of the live page in docs/images, from a run with two workers.

Needs Chromium, its driver and selenium; says so where they are missing.
"""

from __future__ import annotations

import argparse
import sys
import threading
from pathlib import Path
from tempfile import TemporaryDirectory

import daskgnn
from daskgnn.cluster.clusters import own_cluster
from daskgnn.monitor.plugin import page_link
from daskgnn.nn import GraphSAGE

ROOT = Path(__file__).parents[1]


def main() -> None:
    sys.path.insert(0, str(ROOT / "tests"))
    from browser import chromium, column, errors, wait_for, why_no_browser

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", default=ROOT / "docs" / "images" / "live-page.png")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--theme", choices=["light", "dark"], default="light")
    given = parser.parse_args()
    if why_no_browser():
        print(f"no screenshot: {why_no_browser()}")
        return
    graph = daskgnn.load_dataset("digits").partition(32)
    graph = daskgnn.open_graph(graph, num_parts=4)
    model = GraphSAGE(graph.num_features, 64, graph.num_classes)
    with own_cluster(2) as client, chromium() as browser, TemporaryDirectory() as out:
        options = {"num_neighbors": [15, 10], "batch_size": 64, "client": client}
        # A cache is used between workers that do not read each other's memory.
        options |= {"halo_cache": "1 MB", "progress": None, "window": 8, "out": out}
        trainer = daskgnn.Trainer(model, graph, **options)
        thread = threading.Thread(target=trainer.fit, args=[given.epochs])
        thread.start()
        while not (client.get_events("daskgnn") or ()):
            thread.join(0.2)
        browser.get(f"{page_link(client)}?theme={given.theme}")
        points = column("scores", "xs")
        wait_for(browser, f"({points}[0] || []).length >= {given.epochs * 3 // 4}", 600)
        browser.save_screenshot(str(given.out))
        assert not errors(browser), errors(browser)
        thread.join()
    print(given.out)


if __name__ == "__main__":
    main()
