"""The command line for real: processes, files, exit statuses."""

import json
import os
import pty
import signal
import socket
import subprocess
import sys
import threading
import time
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from training import inside

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


def call(*args: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *args],
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def succeed(*args: str, cwd: Path) -> str:
    done = call(*args, cwd=cwd)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


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
    text = succeed("partition", "digits", "digits.zarr", "--seed", "1", cwd=folder)
    for word in ("1,797 nodes", "edge cut", "replication"):
        assert word in text
    return "digits.zarr"


@pytest.fixture(scope="module")
def finished(folder: Path, store: str) -> tuple[Path, str]:
    """Return the directory and the output of a run that nothing disturbed."""
    text = succeed(
        "train", store, *SETTINGS, "--workers", "2", "--out", "a", cwd=folder
    )
    return folder / "a", text


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
    done = call("train", "digits", "--workers", "0", "--out", "a", cwd=run.parent)
    assert_one_line(done, 2, "--resume a")
    assert (run / "metrics.jsonl").read_bytes() == before


def test_evaluate_repeats_the_summary(finished: tuple[Path, str]) -> None:
    run, _ = finished
    summary = json.loads((run / "summary.json").read_text())
    scores = json.loads(inside("evaluate", str(run), "--workers", "0"))
    assert scores["split"] == "test"
    assert scores["accuracy"] == summary["test_accuracy"]


def test_predict_writes_every_node(finished: tuple[Path, str]) -> None:
    import pyarrow.parquet as pq
    import zarr
    from sklearn.datasets import load_digits

    run, _ = finished
    succeed("predict", "a", "--out", "p.zarr", cwd=run.parent)
    parquet = str(run.parent / "p.parquet")
    assert inside("predict", str(run), "--out", parquet, "--workers", "0").strip()
    opened = zarr.open(run.parent / "p.zarr", mode="r")
    outputs = np.asarray(opened if hasattr(opened, "shape") else opened["predictions"])
    assert outputs.shape == (1797, 10)
    # Original order: most labels agree with scikit-learn's own.
    assert np.mean(outputs.argmax(1) == load_digits().target) > 0.9
    assert pq.read_table(parquet).num_rows == 1797


def test_a_killed_run_resumes_to_the_same_bits(
    finished: tuple[Path, str], store: str
) -> None:
    run, _ = finished
    killed = _killed(run.parent, "b", store)
    succeed("train", "--resume", "b", "--workers", "0", cwd=run.parent)
    assert _hash(run) == _hash(killed)
    assert sorted(set(steps(killed))) == list(range(EPOCHS * STEPS))
    assert len(steps(killed)) <= EPOCHS * STEPS + 10
    assert any(r["event"] == "resume" and r["step"] > 0 for r in records(killed))


@pytest.mark.chaos
@pytest.mark.parametrize(
    "way",
    [
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
    succeed("train", store, *SETTINGS, *way, *whole, cwd=folder)
    out = str(tmp_path / "killed")
    killed = _killed(folder, out, store, *way)
    succeed("train", "--resume", out, "--workers", "0", cwd=folder)
    assert _hash(killed) == _hash(tmp_path / "whole")


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
    said = CliRunner().invoke(gnn, args.split(), prog_name="daskgnn")
    done = subprocess.CompletedProcess(args, said.exit_code, said.stdout, said.stderr)
    assert_one_line(done, 2, *words)
    assert not list(tmp_path.iterdir())


def test_bad_input_of_a_process_gets_one_line(tmp_path: Path) -> None:
    words = ["train", "digits", "--scheduler", "tcp://127.0.0.1:9", "--out", "c"]
    assert_one_line(call(*words, cwd=tmp_path), 2, "tcp://127.0.0.1:9")
    assert not list(tmp_path.iterdir())


def test_info_proves_a_store_and_names_a_flipped_byte(
    folder: Path, store: str, tmp_path: Path
) -> None:
    import shutil

    facts = json.loads(succeed("info", store, "--json", "--validate", cwd=folder))
    assert facts["num_nodes"] == 1797
    assert facts["valid"] is True
    broken = shutil.copytree(folder / store, tmp_path / "broken.zarr")
    chunk = next(p for p in sorted((broken / "indices").rglob("*")) if p.name == "0")
    damaged = bytearray(chunk.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    chunk.write_bytes(damaged)
    done = call("info", "broken.zarr", "--validate", cwd=tmp_path)
    assert_one_line(done, 2, "indices")


def test_a_terminal_gets_a_progress_bar(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "train", "karate", "--workers", "0", "--epochs", "3"],
        cwd=tmp_path,
        env=environment() | {"TERM": "xterm", "COLUMNS": "100"},
        stdout=theirs,
        stderr=subprocess.PIPE,
    )
    os.close(theirs)
    shown = b""
    while process.poll() is None or not shown:
        try:
            shown += os.read(ours, 1 << 16)
        except OSError:  # Linux's way to say that the other end is closed
            break
    os.close(ours)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 0, error.decode()
    assert b"\r" in shown
    assert b"epoch 3/3" in shown
    assert (tmp_path / "runs" / "karate" / "summary.json").exists()


def test_dask_knows_the_group() -> None:
    found = [e for e in entry_points(group="dask_cli") if e.name == "gnn"]
    if not found:
        pytest.skip("daskgnn is not installed here, only imported from its folder")
    assert found[0].load() is gnn


def test_a_store_that_was_there_is_kept(folder: Path) -> None:
    succeed("partition", "karate", "work/graph.zarr", cwd=folder)
    before = sorted((folder / "work").rglob("*"))
    here = ("train", "karate", "--workers", "0", "--out", "work")
    for words in (("--num-parts", "99"), ("--batch-size", "8")):
        assert_one_line(call(*here, *words, cwd=folder), 2, "graph.zarr")
        assert sorted((folder / "work").rglob("*")) == before


def test_a_store_is_not_partitioned_again(folder: Path, store: str) -> None:
    done = call("train", store, "--method", "hash", "--out", "m", cwd=folder)
    assert_one_line(done, 2, "method", "daskgnn partition")
    assert not (folder / "m").exists()


@pytest.mark.parametrize("by", ["uniform", "degree"])
def test_every_way_to_draw_can_be_asked_for(folder: Path, by: str) -> None:
    text = inside(
        *("train", "karate", "--workers", "0", "--epochs", "1"),
        *("--sample-by", by, "--num-neighbors", "3,2", "--out", str(folder / by)),
    )
    assert "test accuracy" in text


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_what_is_no_scheduler_is_said_so(folder: Path, answer: bytes) -> None:
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
            done = call("train", "karate", "--scheduler", address, cwd=folder)
        finally:
            stop.set()
            thread.join()
    assert_one_line(done, 2, address, "dask scheduler")


def test_a_run_killed_before_its_first_epoch_resumes(folder: Path, store: str) -> None:
    """The checkpoint of step 0 is there from the start."""
    words = [*COMMAND, "train", store, *SETTINGS, "--workers", "0", "--out", "early"]
    process = subprocess.Popen(words, cwd=folder, env=environment())
    first = folder / "early" / "checkpoints" / "step-00000000"
    deadline = time.time() + 60
    while not first.exists() and time.time() < deadline:
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert first.exists()
    text = succeed("train", "--resume", "early", cwd=folder)
    assert "test accuracy" in text
    assert set(steps(folder / "early")) == set(range(EPOCHS * STEPS))
