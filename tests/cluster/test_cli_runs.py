"""The command line for real: processes, files, exit statuses."""

import json
import os
import pty
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import entry_points
from multiprocessing.connection import Connection
from pathlib import Path

import dask
import numpy as np
import pytest
from distributed import Client
from training import Forked, inside, invoked

from daskgnn.cli import gnn

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "daskgnn"]
EPOCHS, STEPS = 5, 17
SETTINGS = (
    f"--num-parts 2 --epochs {EPOCHS} --batch-size 64 --num-neighbors 5,4 "
    "--hidden-channels 32 --lr 0.01 --seed 3"
).split()


def environment() -> dict[str, str]:
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return os.environ | {"PYTHONPATH": path, "DASK_GNN__CONNECT_TIMEOUT": "1s"}


def assert_one_line(
    done: subprocess.CompletedProcess[str], status: int, *words: str
) -> None:
    assert done.returncode == status, done.stderr
    assert done.stderr.startswith("daskgnn: ")
    assert done.stderr.count("\n") == 1, done.stderr
    for word in words:
        assert word in done.stderr


def records(run: Path) -> list[dict]:
    return [json.loads(s) for s in (run / "metrics.jsonl").read_text().splitlines()]


def steps(run: Path) -> list[int]:
    return [r["step"] for r in records(run) if r["event"] == "step"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def store(folder: Path) -> str:
    path = str(folder / "digits.zarr")
    text = inside("partition", "digits", path, "--seed", "1")
    for word in ("1,797 nodes", "edge cut", "replication"):
        assert word in text
    return path


@pytest.fixture(scope="module")
def finished(folder: Path, store: str) -> tuple[Path, str]:
    """Return the directory and the output of a run that nothing disturbed."""
    out = str(folder / "a")
    done = invoked("train", store, *SETTINGS, "--workers", "2", "--out", out)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return folder / "a", done.stdout


def test_train_writes_what_it_says(finished: tuple[Path, str]) -> None:
    run, text = finished
    summary = json.loads((run / "summary.json").read_text())
    assert summary["num_workers"] == summary["num_parts"] == 2
    assert summary["steps"] == EPOCHS * STEPS
    assert summary["epochs"] == EPOCHS
    assert len(summary["params_sha256"]) == 64
    assert summary["test_accuracy"] > 0.9
    assert steps(run) == list(range(EPOCHS * STEPS))
    epochs = [r for r in records(run) if r["event"] == "epoch"]
    assert len(epochs) == EPOCHS
    assert epochs[-1]["remote_bytes"] > 0
    assert (run / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert any((run / "checkpoints").iterdir())
    for word in (
        f"{summary['test_accuracy']:.4f}",
        "metrics.jsonl",
        "checkpoints",
        "curves.png",
        "http://",
        f"epoch {EPOCHS}/{EPOCHS}",
    ):
        assert word in text
    assert "\r" not in text


def test_a_run_is_not_written_over(finished: tuple[Path, str]) -> None:
    run, _ = finished
    before = (run / "metrics.jsonl").read_bytes()
    done = invoked("train", "digits", "--workers", "0", "--out", str(run))
    assert_one_line(done, 2, f"--resume {run}")
    assert (run / "metrics.jsonl").read_bytes() == before


def test_evaluate_repeats_the_summary(finished: tuple[Path, str]) -> None:
    run, _ = finished
    summary = json.loads((run / "summary.json").read_text())
    scores = json.loads(inside("evaluate", str(run), "--workers", "0"))
    assert scores["split"] == "test"
    assert scores["accuracy"] == summary["test_accuracy"]


def test_predict_writes_every_node(
    finished: tuple[Path, str], cluster: Callable[[int], Client]
) -> None:
    import pyarrow.parquet as pq
    import zarr
    from sklearn.datasets import load_digits

    run, _ = finished
    chunked, parquet = (str(run.parent / name) for name in ("p.zarr", "p.parquet"))
    there = ("--scheduler", cluster(2).scheduler.address)
    assert inside("predict", str(run), "--out", chunked, *there).strip()
    assert inside("predict", str(run), "--out", parquet, "--workers", "0").strip()
    opened = zarr.open(chunked, mode="r")
    outputs = np.asarray(opened if hasattr(opened, "shape") else opened["predictions"])
    assert outputs.shape == (1797, 10)
    # Original order: most labels agree with scikit-learn's own.
    assert np.mean(outputs.argmax(1) == load_digits().target) > 0.9
    assert pq.read_table(parquet).num_rows == 1797


@pytest.mark.chaos
@pytest.mark.parametrize(
    "way",
    [
        [],
        ["--compress", "topk:0.05"],
        ["--compress", "powersgd:2", "--gradients", "async", "--staleness", "2"],
        ["--local-steps", "4"],
        ["--gradients", "ring", "--accumulate", "4", "--checksum-every", "5"],
    ],
    ids="".join,
)
def test_a_killed_run_resumes_in_any_way(
    folder: Path, store: str, tmp_path: Path, way: list[str]
) -> None:
    whole = ["--workers", "0", "--out", str(tmp_path / "whole")]
    inside("train", store, *SETTINGS, *way, *whole)
    killed = _killed(folder, str(tmp_path / "killed"), store, *way)
    inside("train", "--resume", str(killed), "--workers", "0")
    assert _hash(killed) == _hash(tmp_path / "whole")
    assert sorted(set(steps(killed))) == list(range(EPOCHS * STEPS))
    assert len(steps(killed)) <= EPOCHS * STEPS + 10
    assert any(r["event"] == "resume" and r["step"] > 0 for r in records(killed))


def _killed(folder: Path, out: str, store: str, *options: str) -> Path:
    """Begin a run on two workers and kill it after some checkpoints."""
    command = [*COMMAND, "train", store, *SETTINGS, *options, "--workers", "2"]
    process = subprocess.Popen(
        [*command, "--checkpoint-every", "10", "--out", out],
        cwd=folder,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for_checkpoint(process, folder / out / "metrics.jsonl", step=2 * STEPS)
    finally:
        process.kill()
        status = process.wait(30)
    assert status == -signal.SIGKILL
    return folder / out


def _hash(run: Path) -> str:
    return json.loads((run / "summary.json").read_text())["params_sha256"]


def _wait_for_checkpoint(
    process: subprocess.Popen[bytes], metrics: Path, step: int
) -> None:
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline and process.poll() is None:
        text = metrics.read_text() if metrics.exists() else ""
        for line in text.splitlines():
            if '"checkpoint"' in line and json.loads(line)["step"] >= step:
                return
        time.sleep(0.01)
    raise AssertionError(f"no checkpoint of step {step} before the run ended")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ("train digitz", ["digitz", "digits"]),
        ("train digits --num-parts 2 --num-clusters 1 --out c", ["1"]),
        ("train --resume nothing", ["nothing"]),
        ("evaluate nothing", ["nothing"]),
        ("info nothing.zarr", ["nothing.zarr"]),
    ],
)
def test_bad_input_gets_one_line_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: str, words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert_one_line(invoked(*args.split()), 2, *words)
    assert not list(tmp_path.iterdir())


def test_bad_input_of_a_process_gets_one_line(tmp_path: Path) -> None:
    words = ["train", "digits", "--scheduler", "tcp://127.0.0.1:9", "--out", "c"]
    assert_one_line(Forked(tmp_path, *words).end(), 2, "tcp://127.0.0.1:9")
    assert not list(tmp_path.iterdir())


def test_info_proves_a_store_and_names_a_flipped_byte(
    store: str, tmp_path: Path
) -> None:
    facts = json.loads(inside("info", store, "--json", "--validate"))
    assert facts["num_nodes"] == 1797
    assert facts["valid"] is True
    broken = shutil.copytree(store, tmp_path / "broken.zarr")
    chunk = next(p for p in sorted((broken / "indices").rglob("*")) if p.name == "0")
    damaged = bytearray(chunk.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    chunk.write_bytes(damaged)
    assert_one_line(invoked("info", str(broken), "--validate"), 2, "indices")


def test_a_terminal_gets_a_progress_bar(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    words = ("train", "karate", "--workers", "0", "--epochs", "3")
    with Connection(theirs, readable=False) as terminal:
        command = Forked(tmp_path, *words, terminal=terminal)
    shown = b""
    with suppress(OSError):  # Linux's way to say that the other end is closed
        while read := os.read(ours, 1 << 16):
            shown += read
    os.close(ours)
    done = command.end()
    assert done.returncode == 0, done.stderr
    assert b"\r" in shown
    assert b"epoch 3/3" in shown
    assert (tmp_path / "runs" / "karate" / "summary.json").exists()


def test_dask_knows_the_group() -> None:
    found = [e for e in entry_points(group="dask_cli") if e.name == "gnn"]
    if not found:
        pytest.skip("daskgnn is not installed here, only imported from its folder")
    assert found[0].load() is gnn


def test_a_store_that_was_there_is_kept(tmp_path: Path) -> None:
    work = tmp_path / "work"
    inside("partition", "karate", str(work / "graph.zarr"))
    before = sorted(work.rglob("*"))
    here = ("train", "karate", "--workers", "0", "--out", str(work))
    for words in (("--num-parts", "99"), ("--batch-size", "8")):
        assert_one_line(invoked(*here, *words), 2, "graph.zarr")
        assert sorted(work.rglob("*")) == before


def test_a_store_is_not_partitioned_again(store: str, tmp_path: Path) -> None:
    out = tmp_path / "m"
    done = invoked("train", store, "--method", "hash", "--out", str(out))
    assert_one_line(done, 2, "method", "daskgnn partition")
    assert not out.exists()


@pytest.mark.parametrize("by", ["uniform", "degree"])
def test_every_way_to_draw_can_be_asked_for(tmp_path: Path, by: str) -> None:
    text = inside(
        *("train", "karate", "--workers", "0", "--epochs", "1"),
        *("--sample-by", by, "--num-neighbors", "3,2", "--out", str(tmp_path / by)),
    )
    assert "test accuracy" in text


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_what_is_no_scheduler_is_said_so(tmp_path: Path, answer: bytes) -> None:
    """Something else listens: silent, or of another tongue."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        stop = threading.Event()

        def serve() -> None:
            server.settimeout(0.2)
            open_ones = []
            while not stop.is_set():
                try:
                    connection, _ = server.accept()
                except TimeoutError:
                    continue
                connection.sendall(answer)
                open_ones.append(connection)
            for connection in open_ones:
                connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        try:
            with dask.config.set({"gnn.connect-timeout": "1s"}):
                there = ("--scheduler", address, "--out", str(tmp_path / "run"))
                done = invoked("train", "karate", *there)
        finally:
            stop.set()
            thread.join()
    assert_one_line(done, 2, address, "daskgnn scheduler")
    assert not list(tmp_path.iterdir())


def test_a_run_killed_before_its_first_epoch_resumes(folder: Path, store: str) -> None:
    """The checkpoint of step 0 is there from the start."""
    words = ["train", store, *SETTINGS, "--workers", "0", "--out", "early"]
    command = Forked(folder, *words)
    first = folder / "early" / "checkpoints" / "step-00000000"
    while not first.exists():
        assert command.process.is_alive()
        time.sleep(0.01)
    command.process.kill()
    assert command.end().returncode == -signal.SIGKILL
    text = inside("train", "--resume", str(folder / "early"), "--workers", "0")
    assert "test accuracy" in text
    assert set(steps(folder / "early")) == set(range(EPOCHS * STEPS))
