"""How soon the live page in a browser shows that a worker was killed, while it trains.

Needs Chromium, its driver and selenium; says so where they are missing.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from report import show

from daskgnn.cluster.clusters import own_cluster
from daskgnn.monitor.plugin import page_link

ROOT = Path(__file__).parents[1]


def seconds_until_shown(trials: int) -> list[float]:
    """Kill a worker so many times, each when the run has recovered from the last."""
    from browser import chromium, column, kill_worker, open_page, wait_for

    found = []
    kinds, steps = column("events", "kind"), column("loss", "step")
    recovered = f"{kinds}.filter(kind => kind === 'recovered').length"
    with own_cluster(2) as client, chromium() as browser, TemporaryDirectory() as out:
        command = [sys.executable, "-m", "daskgnn", "train", "digits", "--out", out]
        command += ["--scheduler", client.scheduler.address, "--epochs", "100000"]
        run = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            open_page(browser, page_link(client))
            wait_for(browser, f"{steps}.length > 20")
            for trial in range(trials):
                time.sleep(trial % 10 / 10)  # the page is updated once a second
                found.append(kill_worker(browser, client))
                wait_for(browser, f"{recovered} > {trial}", 120)
                client.wait_for_workers(2, 60)
        finally:
            run.terminate()
            run.wait(60)
    return found


def main() -> None:
    sys.path.insert(0, str(ROOT / "tests"))
    from browser import why_no_browser

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--trials", type=int, default=10)
    parser.add_argument("--json")
    given = parser.parse_args()
    if why_no_browser():
        print(f"not measured: {why_no_browser()}")
        return
    found = sorted(seconds_until_shown(given.trials))
    row = {"kills": len(found), "median, s": round(found[len(found) // 2], 2)}
    row |= {"least": round(found[0], 2), "most": round(found[-1], 2)}
    show("until the page shows a lost worker", [row], given.json, markdown=True)


if __name__ == "__main__":
    main()
