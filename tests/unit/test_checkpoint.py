"""Checkpoints: when they are written, which stay, where, and what is refused."""

import errno
import hashlib
import io
import json
import os
import pickle
import signal
import threading
import uuid
import zipfile

import fsspec
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch.nn import functional
from training import mostly_slow, planted_graph, stored, trainer

from daskgnn import nn
from daskgnn.cli import gnn
from daskgnn.errors import CheckpointError, InputError, TrainingError
from daskgnn.train import runstate as run_state
from daskgnn.train.persist import recorder
from daskgnn.train.persist.background import Background
from daskgnn.train.persist.checkpoint import (
    ARRAYS,
    MANIFEST,
    Checkpoint,
    load_checkpoint,
    newest_checkpoint,
    save_checkpoint,
)
from daskgnn.train.persist.storage import ObjectStorage, open_storage


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return stored(planted_graph(), tmp_path_factory.mktemp("graph") / "g.zarr")


@pytest.fixture(scope="module")
def undisturbed(path):
    run = trainer(path, 2, None)
    run.fit(4)
    return run


@pytest.fixture
def bucket():
    """A folder of an object store, in memory."""
    url = f"memory://{uuid.uuid4().hex}"
    yield url
    filesystem, root = fsspec.core.url_to_fs(url)
    if filesystem.exists(root):
        filesystem.rm(root, recursive=True)


class At:
    """A progress that does something at a step, once."""

    def __init__(self, step, do):
        self.at, self.do = step, do

    def step(self, record):
        if record["step"] == self.at:
            self.at = -1
            self.do()

    def started(self, info):
        pass

    epoch = event = finished = started


def records(storage):
    return [json.loads(s) for s in storage.read("metrics.jsonl").splitlines()]


def of(event, storage):
    return [r for r in records(storage) if r["event"] == event]


def checkpoint_of(step, best=None, size=10):
    arrays = {"parameters": np.arange(size) + step, "optimizer/exp_avg": np.ones(3)}
    return Checkpoint(arrays, {"step": step, "best_step": best})


def names_of(place):
    return [n for n in open_storage(place).names() if n.startswith("step-")]


# -- when, and which stay


def test_seconds_write_more_checkpoints_and_change_no_bit(path, undisturbed, tmp_path):
    options = {"out": tmp_path / "run", "window": 2}
    run = trainer(path, 2, None, checkpoint_seconds=1e-6, **options)
    run.fit(4)
    assert run.params_sha256 == undisturbed.params_sha256
    steps = [r["step"] for r in of("checkpoint", open_storage(tmp_path / "run"))]
    per_epoch = run.plan.steps_per_epoch
    # Some may have been replaced while they waited, the last never.
    assert steps[0] == 0
    assert steps[-1] == 4 * per_epoch
    assert steps == sorted(set(steps))
    assert set(steps) - {epoch * per_epoch for epoch in range(5)}


@pytest.mark.parametrize("place", ["directory", "objects"])
def test_the_newest_and_the_best_stay(tmp_path, bucket, place):
    place = bucket if place == "objects" else tmp_path
    for step in range(1, 9):
        best = 3 if step >= 3 else None
        save_checkpoint(place, checkpoint_of(step, best), keep=2)
    assert names_of(place) == [f"step-{i:08d}" for i in (3, 7, 8)]
    save_checkpoint(place, checkpoint_of(9, 9), keep=1)
    assert names_of(place) == ["step-00000009"]
    assert newest_checkpoint(place).step == 9


def test_the_best_is_not_replaced_while_it_waits():
    begun, go_on = threading.Event(), threading.Event()

    def write(item):
        begun.set()
        assert go_on.wait(20)
        return item

    background = Background(write, spares=lambda _new, old: old == "best")
    background.put("first")
    assert begun.wait(20)
    for item in ("a", "best", "b", "c"):
        background.put(item)
    go_on.set()
    background.drain()
    assert background.done() == ["first", "best", "c"]


def test_a_run_keeps_its_best_epoch(path, tmp_path):
    run = trainer(path, 2, None, out=tmp_path, lr=0.05, keep_checkpoints=1)
    run.fit(25)
    best = (run.run_state.best.epoch + 1) * run.plan.steps_per_epoch
    assert best < run.run_state.state.step
    newest = f"step-{run.run_state.state.step:08d}"
    assert names_of(tmp_path / "checkpoints") == [f"step-{best:08d}", newest]
    found = load_checkpoint(tmp_path / "checkpoints" / f"step-{best:08d}")
    np.testing.assert_array_equal(found.arrays["parameters"], run.best_parameters)


def test_what_a_resume_did_not_find_whole_gives_way(tmp_path):
    for step in (10, 20):
        save_checkpoint(tmp_path, checkpoint_of(step))
    (tmp_path / "step-00000020" / ARRAYS).write_bytes(b"cut")
    assert newest_checkpoint(tmp_path).step == 10
    save_checkpoint(tmp_path, checkpoint_of(15))
    assert names_of(tmp_path) == ["step-00000010", "step-00000015"]


def test_a_step_is_written_once_unless_damaged(tmp_path):
    save_checkpoint(tmp_path, checkpoint_of(1))
    arrays = tmp_path / "step-00000001" / ARRAYS
    written = arrays.stat().st_mtime_ns
    save_checkpoint(tmp_path, checkpoint_of(1))
    assert arrays.stat().st_mtime_ns == written
    arrays.write_bytes(b"cut")
    save_checkpoint(tmp_path, checkpoint_of(1))
    assert newest_checkpoint(tmp_path).step == 1


# -- in the background


def test_one_at_a_time_and_the_newest_waits():
    begun, go = threading.Semaphore(0), threading.Semaphore(0)
    busy = []

    def work(item):
        busy.append(item)
        begun.release()
        go.acquire()
        return item

    background = Background(work)
    background.put("a")
    begun.acquire()
    for item in "bcd":
        background.put(item)
    assert busy == ["a"]
    assert background.done() == []
    for _ in range(2):
        go.release()
    background.drain()
    assert background.done() == busy == ["a", "d"]
    go.release()
    background.put("e")
    background.drain()
    assert background.done() == ["e"]
    assert background.failure() is None


def test_training_does_not_wait_for_the_disk(path, undisturbed, tmp_path, monkeypatch):
    """All epochs pass while the first one's checkpoint is being written."""
    go, save, steps = threading.Event(), recorder.save_checkpoint, []

    def slow(storage, checkpoint, keep):
        steps.append(checkpoint.step)
        if checkpoint.step:
            assert go.wait(60)
        return save(storage, checkpoint, keep)

    monkeypatch.setattr(recorder, "save_checkpoint", slow)
    last = undisturbed.run_state.state.step - 1
    run = trainer(path, 2, None, out=tmp_path, progress=At(last, go.set))
    run.fit(4)
    assert run.params_sha256 == undisturbed.params_sha256
    # What waited was replaced, but for the newest and the best.
    assert [*steps[:2], steps[-1]] == [0, run.plan.steps_per_epoch, last + 1]
    assert steps == sorted(steps)
    assert newest_checkpoint(tmp_path / "checkpoints").step == last + 1


def test_no_more_than_an_interval_is_on_record_without_a_checkpoint(
    path, tmp_path, monkeypatch
):
    """However slow the disk is: what is asked for by steps is a promise."""
    save, storage = recorder.save_checkpoint, open_storage(tmp_path)
    margins = []

    def slow(place, checkpoint, keep):
        threading.Event().wait(0.02)
        if checkpoint.step:
            newest = newest_checkpoint(tmp_path / "checkpoints").step
            margins.append(len(of("step", storage)) - newest)
        return save(place, checkpoint, keep)

    monkeypatch.setattr(recorder, "save_checkpoint", slow)
    trainer(path, 2, None, out=tmp_path, checkpoint_every=3).fit(4)
    assert len(margins) > 4
    assert max(margins) == 3


def test_a_refused_checkpoint_ends_the_run_with_one_line(path, tmp_path, monkeypatch):
    save = recorder.save_checkpoint

    def full(storage, checkpoint, keep):
        if checkpoint.step > 4:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return save(storage, checkpoint, keep)

    monkeypatch.setattr(recorder, "save_checkpoint", full)
    run = trainer(path, 2, None, out=tmp_path, checkpoint_every=2)
    said = r"the checkpoint of step \d+ cannot be written .*No space left on device"
    with pytest.raises(TrainingError, match=said) as error:
        run.fit(4)
    assert "\n" not in str(error.value)
    assert "checkpoint of step 4 is in" in str(error.value)
    assert "--resume" in str(error.value)
    assert newest_checkpoint(tmp_path / "checkpoints").step == 4


# -- signals


SIGNALS = [
    (number, raised, step)
    for number, raised in (
        (signal.SIGINT, KeyboardInterrupt),
        (signal.SIGTERM, SystemExit),
    )
    for step in (0, 5, 11)
]


@pytest.mark.parametrize(
    ("number", "raised", "step"), mostly_slow(SIGNALS, SIGNALS[1], SIGNALS[5])
)
def test_a_signal_leaves_a_checkpoint_and_a_usable_trainer(
    path, undisturbed, tmp_path, number, raised, step
):
    before = signal.getsignal(number)
    stop = At(step, lambda: signal.raise_signal(number))
    run = trainer(path, 2, None, out=tmp_path, progress=stop, window=2)
    with pytest.raises(raised):
        run.fit(4)
    assert signal.getsignal(number) == before
    (stopped,) = of("stopped", open_storage(tmp_path))
    assert stopped["signal"] == number.name
    assert newest_checkpoint(tmp_path / "checkpoints").step == stopped["step"] > step
    steps = [r["step"] for r in of("step", open_storage(tmp_path))]
    assert steps == list(range(stopped["step"]))
    run.fit(4)
    assert run.params_sha256 == undisturbed.params_sha256
    steps = [r["step"] for r in of("step", open_storage(tmp_path))]
    assert steps == list(range(undisturbed.run_state.state.step))


def test_a_signal_in_validation_takes_its_steps_back(
    path, undisturbed, tmp_path, monkeypatch
):
    run = trainer(path, 2, None, out=tmp_path, window=2)
    scores, seen = run.deployment.evaluator.scores, []

    def interrupted(parameters, splits):
        seen.append(run.run_state.state.step)
        if len(seen) == 2:
            signal.raise_signal(signal.SIGINT)
        return scores(parameters, splits)

    monkeypatch.setattr(run.deployment.evaluator, "scores", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run.fit(4)
    found = newest_checkpoint(tmp_path / "checkpoints").step
    assert found == run.run_state.state.step < seen[1]
    assert len(of("step", open_storage(tmp_path))) == found
    again = trainer(path, 2, None, out=tmp_path, window=2)
    again.fit(4, resume=True)
    assert again.params_sha256 == undisturbed.params_sha256


def test_handlers_of_a_program_stay(path):
    """A program that has its own idea of SIGTERM keeps it."""
    heard = []
    before = signal.signal(signal.SIGTERM, lambda *_: heard.append(1))
    try:
        stop = At(3, lambda: signal.raise_signal(signal.SIGTERM))
        run = trainer(path, 2, None, progress=stop)
        run.fit(1)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard == [1]


# -- object stores


class Stopped(Exception):
    pass


def stop():
    raise Stopped


def test_a_run_in_an_object_store_resumes_to_the_same_bits(path, undisturbed, bucket):
    options = {"out": bucket, "checkpoint_every": 2}
    with pytest.raises(Stopped):
        trainer(path, 2, None, progress=At(11, stop), **options).fit(4)
    again = trainer(path, 2, None, **options)
    again.fit(4, resume=True)
    assert again.params_sha256 == undisturbed.params_sha256
    storage = open_storage(bucket)
    assert isinstance(storage, ObjectStorage)
    summary = json.loads(storage.read("summary.json"))
    assert summary["params_sha256"] == undisturbed.params_sha256
    steps = [r["step"] for r in of("step", storage)]
    assert set(steps) == set(range(undisturbed.run_state.state.step))
    with pytest.raises(InputError, match="already holds a run"):
        trainer(path, 2, None, out=bucket).fit(1)


def test_the_manifest_is_written_last_and_removed_first(bucket, monkeypatch):
    storage = open_storage(bucket)
    assert isinstance(storage, ObjectStorage)
    filesystem, order = storage.filesystem, []
    opened, removed = filesystem.open, filesystem.rm_file

    def open_told(name, mode="rb", **options):
        order.append((mode, name.rpartition("/")[2]))
        return opened(name, mode, **options)

    def remove_told(name):
        order.append(("rm", name.rpartition("/")[2]))
        return removed(name)

    monkeypatch.setattr(filesystem, "open", open_told)
    monkeypatch.setattr(filesystem, "rm_file", remove_told)
    for step in (1, 2):
        save_checkpoint(storage, checkpoint_of(step), keep=1)
    written = [("wb", ARRAYS), ("wb", MANIFEST)]
    changed = [entry for entry in order if entry[0] != "rb"]
    assert changed == [*written, *written, ("rm", MANIFEST), ("rm", ARRAYS)]


@pytest.mark.parametrize("file", [ARRAYS, MANIFEST])
def test_an_object_cut_short_is_not_taken(bucket, file):
    storage = open_storage(bucket)
    for step in (1, 2):
        save_checkpoint(storage, checkpoint_of(step))
    whole = storage.read(f"step-00000002/{file}")
    for size in (0, 1, len(whole) // 2, len(whole) - 1):
        storage.write(f"step-00000002/{file}", whole[:size])
        assert newest_checkpoint(storage).step == 1
    storage.remove(f"step-00000002/{MANIFEST}")
    assert newest_checkpoint(storage).step == 1


@pytest.mark.parametrize("url", ["nosuch://a/b", "s4://bucket/run"])
def test_a_url_that_nothing_knows(path, url):
    with pytest.raises(InputError, match=url) as error:
        trainer(path, 1, None, out=url)
    assert "\n" not in str(error.value)


def test_file_urls_are_directories(path, tmp_path):
    trainer(path, 1, None, out=f"file://{tmp_path}/run").fit(1)
    assert (tmp_path / "run" / "summary.json").exists()


# -- what is refused


def summed_squares(outputs, labels):
    return functional.mse_loss(
        outputs, functional.one_hot(labels, outputs.shape[1]).float(), reduction="sum"
    )


def wide(graph):
    return nn.GraphSAGE(graph.num_features, 17, graph.num_classes, 2, dropout=0.4)


class Bare(torch.nn.Module):
    """A model whose representation does not tell its sizes."""

    num_layers = 1

    def __init__(self, size):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(12, 4))
        self.bias = torch.nn.Parameter(torch.zeros(size))

    def forward(self, x, blocks):
        block = blocks[0]
        return block.aggregate(x, "mean") @ self.weight + self.bias.sum()


def test_a_checkpoint_of_anything_else_is_refused(path, tmp_path):
    trainer(path, 2, None, out=tmp_path / "run").fit(1)
    other = stored(planted_graph(seed=1), tmp_path / "other.zarr")
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau
    cases = [
        ({"precision": "bf16"}, "precision=float32, this run has precision=bf16"),
        ({"feature_dtype": "float16"}, "feature_dtype=float32, this run has"),
        ({"loss": summed_squares}, "loss=cross_entropy, this run has loss=summed_sq"),
        ({"threads_per_part": 2}, "threads_per_part=1, this run has"),
        ({"sample_by": "degree"}, "sample_by=uniform, this run has"),
        ({"normalize_features": True}, "normalize_features=False, this run has"),
        ({"model": wide}, "model=12, 16, .*, this run has model=12, 17"),
        ({"optimizer": "sgd"}, r"optimizer=\['Adam', .*this run has optimizer=\['SGD"),
        ({"lr": 0.02}, r"lr=0.01.*, this run has .*lr=0.02"),
        ({"lr_scheduler": plateau}, "optimizer=.*Plateau"),
        ({"scheduler_interval": "step"}, "scheduler_interval=epoch, this run has"),
    ]
    for options, said in cases:
        with pytest.raises(CheckpointError, match=said) as error:
            trainer(path, 2, None, out=tmp_path / "run", **options).fit(2, resume=True)
        assert "\n" not in str(error.value)
    with pytest.raises(CheckpointError, match=r"graph_hash=\w+, this run has"):
        trainer(other, 2, None, out=tmp_path / "run").fit(2, resume=True)


def test_parameters_of_other_sizes_are_refused(path, tmp_path):
    options = {"num_neighbors": [4], "out": tmp_path}
    trainer(path, 2, None, model=lambda _: Bare(4), **options).fit(1)
    run = trainer(path, 2, None, model=lambda _: Bare(5), **options)
    said = r"parameters=.*bias \[4\].*, this run has parameters=.*bias \[5\]"
    with pytest.raises(CheckpointError, match=said):
        run.fit(2, resume=True)


@pytest.mark.parametrize("name", ["torch", "cpu_capability"])
def test_other_arithmetic_is_warned_of(path, tmp_path, name, monkeypatch):
    trainer(path, 2, None, out=tmp_path).fit(1)
    manifest = newest_checkpoint(tmp_path / "checkpoints").facts
    assert {"daskgnn", "torch", "numpy", "cpu_capability"} <= manifest[
        "versions"
    ].keys()
    mine = run_state.versions()
    monkeypatch.setattr(run_state, "versions", lambda: {**mine, name: "other"})
    with pytest.warns(UserWarning, match=f"written with {name} .*, this is other"):
        trainer(path, 2, None, out=tmp_path).fit(2, resume=True)


@pytest.mark.parametrize("seconds", [0, -1, "1", True, float("nan")])
def test_bad_seconds(path, seconds):
    with pytest.raises(InputError, match="checkpoint_seconds="):
        trainer(path, 1, None, checkpoint_seconds=seconds)


# -- nothing is unpickled


class Payload:
    """What would make a file if it were unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def forge(folder, arrays):
    """Write what looks like a checkpoint in every respect."""
    with zipfile.ZipFile(folder / ARRAYS, "w") as archive:
        for name, content in arrays.items():
            archive.writestr(name, content)
    manifest = json.loads((folder / MANIFEST).read_text())
    del manifest["manifest_sha256"]
    digest = hashlib.sha256((folder / ARRAYS).read_bytes()).hexdigest()
    manifest["sha256"] = {ARRAYS: digest}
    whole = json.dumps(manifest, sort_keys=True).encode()
    manifest["manifest_sha256"] = hashlib.sha256(whole).hexdigest()
    (folder / MANIFEST).write_text(json.dumps(manifest))


def npy_of(value):
    file = io.BytesIO()
    np.save(file, np.array([value], dtype=object), allow_pickle=True)
    return file.getvalue()


def test_a_malicious_checkpoint_executes_nothing(path, tmp_path):
    trainer(path, 2, None, out=tmp_path / "run").fit(1)
    trap = tmp_path / "executed"
    place = tmp_path / "run" / "checkpoints"
    forged = {
        "an object array": {"parameters.npy": npy_of(Payload(trap))},
        "a bare pickle": {"parameters.npy": pickle.dumps(Payload(trap))},
        "an object in the optimizer": {"optimizer/step.0.npy": npy_of(Payload(trap))},
    }
    # The payload is real.
    np.load(io.BytesIO(npy_of(Payload(trap))), allow_pickle=True)
    assert trap.is_dir()
    trap.rmdir()
    for arrays in forged.values():
        for name in names_of(place):
            forge(place / name, arrays)
        with pytest.raises(CheckpointError, match="cannot be read"):
            load_checkpoint(place / max(names_of(place)))
        with pytest.raises(CheckpointError, match="no usable checkpoint"):
            trainer(path, 2, None, out=tmp_path / "run").fit(2, resume=True)
        assert not trap.exists()


def test_the_command_line_in_an_object_store(path, tmp_path, bucket):
    def call(*words):
        done = CliRunner().invoke(gnn, [*words, "--workers", "0"])
        return done.exit_code, done.output

    given = ["--epochs", "3", "--num-parts", "2", "--hidden-channels", "16"]
    directory = str(tmp_path / "run")
    for out in (directory, bucket):
        status, said = call("train", path, *given, "--profile", "--out", out)
        assert status == 0, said
        for name in ("metrics.jsonl", "summary.json", "checkpoints", "curves.png"):
            assert f"{out}/{name}" in said
            assert open_storage(out).exists(name)
    hashes = {
        json.loads(open_storage(out).read("summary.json"))["params_sha256"]
        for out in (directory, bucket)
    }
    assert len(hashes) == 1
    assert call("train", "--resume", bucket)[0] == 0
    assert json.loads(call("evaluate", bucket)[1].splitlines()[-1])["split"] == "test"
    status, said = call("train", path, *given, "--out", bucket)
    assert status == 2
    assert "already holds a run" in said
    status, said = call("train", "digits", "--out", f"{bucket}/other")
    assert status == 2
    assert "daskgnn partition digits graph.zarr" in said
    assert call("train", "--resume", f"{bucket}/nothing")[0] == 2
