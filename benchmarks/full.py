"""All measurements of docs/measurements/performance.md in one run, as one page.

Each is a script beside this one, in a process of its own, one after the other. The
page has the date, the machine, how busy it was, and what each script printed; it is
written again after each. It replaces the page of the last run on such a machine. A
script that fails or takes too long is named there, and the rest go on.

    python benchmarks/full.py [--only training,cora] [--pages FOLDER] [--json FOLDER]
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from report import machine

HERE = Path(__file__).resolve().parent
PAGES = HERE.parent / "docs" / "measurements" / "machines"
LIMIT = 20 * 60.0
"""Seconds that one script may take."""


@dataclass(frozen=True)
class Part:
    """One script, and what it is asked."""

    title: str
    script: str
    words: str = ""

    @property
    def name(self) -> str:
        """The name of the file of its figures."""
        shape = re.search(r"--shape (\w+)", self.words)
        return f"{self.script}-{shape[1]}" if shape else self.script

    def command(self, out: Path) -> list[str]:
        """Return what is run."""
        script = str(HERE / f"{self.script}.py")
        return [sys.executable, script, *self.words.split(), "--json", str(out)]


SIDES = "--sides daskgnn,daskgnn-half,dgl"
PARTS = (
    Part("Training: arxiv shape", "training", f"--shape arxiv {SIDES}"),
    Part(
        "Training: products shape",
        "training",
        f"--shape products {SIDES} --repeats 1 --steps 12",
    ),
    Part(
        "Features that stay sparse",
        "sparse_features",
        "--sides sparse,dgl --repeats 2 --warm-up 5 --steps 33",
    ),
    Part("An epoch of a small graph", "small_graph", "--batch-sizes 1024"),
    Part("From command to summary", "cora"),
    Part("The first minute", "first_minute"),
    Part("What the engine costs a step", "step_latency", "--repeats 3"),
    Part("What a window costs", "window_cost"),
    Part("What watching costs", "monitor_cost", "--turns 3"),
    Part("Sampling: arxiv shape", "sampler", "--shape arxiv"),
    Part("Sampling: products shape", "sampler", "--shape products --repeats 3"),
    Part("One, two and four workers", "scaling", "--repeats 1 --steps 8"),
    Part("Halo caches", "halo_cache", "--shape arxiv"),
    Part("Bytes between parts", "remote_bytes", "--shape arxiv --num-parts 8"),
    Part("Partitioners", "partitioners", "--sizes 10000,100000"),
    Part("Graph shapes", "topologies", "--parts 2,8"),
    Part("Many parts", "simulated_cluster", "--parts 2,4,8,16 --repeats 1"),
)


@dataclass
class Ran:
    """What a script printed."""

    part: Part
    text: str
    seconds: float
    load: float
    """Processes that wanted a core in the minute before it."""
    failure: str = ""

    def section(self) -> str:
        """Return its section of the page."""
        words = f" {self.part.words}" if self.part.words else ""
        command = f"python benchmarks/{self.part.script}.py{words}"
        took = f"{self.seconds / 60:.1f} minutes; load average before: {self.load:.1f}."
        failure = f"\n**{self.failure}**\n" if self.failure else ""
        return (
            f"## {self.part.title}\n\n```console\n{command}\n```\n\n{took}\n{failure}\n"
            f"```text\n{self.text}\n```\n"
        )


def main() -> None:
    """Run what is asked for; fail if something did."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="scripts, by name: training,cora")
    parser.add_argument("--pages", type=Path, default=PAGES)
    parser.add_argument("--json", type=Path, default=HERE.parent / "runs" / "bench")
    given = parser.parse_args()
    given.json.mkdir(parents=True, exist_ok=True)
    given.pages.mkdir(parents=True, exist_ok=True)
    chosen = set(given.only.split(",")) - {""}
    about, began = machine(), time.perf_counter()
    page = given.pages / f"{slug(about)}.md"
    done: list[Ran] = []
    for part in PARTS:
        if chosen and part.script not in chosen:
            continue
        print(f"{part.title} ...", flush=True)
        done.append(run(part, given.json / f"{part.name}.json"))
        print(done[-1].text, done[-1].failure, sep="\n", flush=True)
        page.write_text(written(about, done, time.perf_counter() - began))
    print(f"written: {page}")
    if failed := [ran.part.title for ran in done if ran.failure]:
        raise SystemExit(f"failed: {', '.join(failed)}")


def run(part: Part, out: Path) -> Ran:
    """Run a script; its figures go to `out`."""
    load, began = os.getloadavg()[0], time.perf_counter()
    failure = ""
    try:
        found = subprocess.run(
            part.command(out),
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )
        text = found.stdout
        if found.returncode:
            last = found.stderr.strip().splitlines()[-1:] or [str(found.returncode)]
            failure = f"Failed: {last[0]}"
    except subprocess.TimeoutExpired as late:
        failure = f"Stopped after {LIMIT / 60:.0f} minutes."
        text = (late.stdout or b"").decode()
    return Ran(part, readable(text), time.perf_counter() - began, load, failure)


def readable(text: str) -> str:
    """Return what was printed without addresses of this machine and empty ends."""
    home = re.escape(str(Path.home()))
    text = re.sub(home, "~", text.replace(str(HERE.parent), "."))
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def slug(about: dict[str, object]) -> str:
    """Return the name of a machine's page: its processor, and what that can do."""
    words = f"{about['cpu']} {about['cpu_capability']} {about['cores']} cores"
    return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")


def written(about: dict[str, object], done: list[Ran], seconds: float) -> str:
    """Return the page."""
    facts = "\n".join(f"| {name} | {value} |" for name, value in about.items())
    day = datetime.now(UTC).strftime("%d %B %Y").lstrip("0")
    sections = "\n".join(ran.section() for ran in done)
    return (
        f"# {about['cpu']}, {about['cores']} cores\n\n"
        "What `make bench-full` measures, as the scripts printed it, in one run. What "
        "the\nfigures mean is on [the page about speed](../performance.md).\n\n"
        f"*Recorded {day}, in {seconds / 60:.0f} minutes.*\n\n"
        f"| | |\n| --- | --- |\n{facts}\n\n{sections}"
    )


if __name__ == "__main__":
    main()
