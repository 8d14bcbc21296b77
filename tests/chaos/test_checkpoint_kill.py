"""A process that dies by SIGKILL while a checkpoint is being written.

Each trial lets a real process die at another moment of the write: before one of the
operations that the file system sees, and before and after each half of what is written.
"""

import os
import signal
import sys
from pathlib import Path

import pytest
from faults import records, trials
from fsspec.implementations.local import LocalFileOpener
from training import forking, trainer

from daskgnn.train.persist import recorder
from daskgnn.train.persist.checkpoint import load_checkpoint, newest_checkpoint
from daskgnn.train.persist.storage import ObjectStorage, open_storage

EPOCHS, STEPS, INTERVAL = 2, 9, 3
"""Steps of an epoch; steps between checkpoints."""
FATAL = (6, 9, 12, 15)
"""Steps in whose checkpoint the process is killed."""
SEEN = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.scandir")
"""What Python tells of the file system, before it happens."""
TRIALS = 25

pytestmark = pytest.mark.timeout(300)


class Fate:
    """Kills this process at the n-th operation since a checkpoint's write began."""

    def __init__(self, step, operation):
        self.name = f"step-{step:08d}"
        self.operation = operation
        self.count = -1

    def audit(self, event, args):
        if event in SEEN and args:
            self.meet(str(args[0]))

    def meet(self, path):
        if "checkpoints" not in path:
            return
        if self.count < 0 and self.name not in path:
            return
        self.count += 1
        if self.count == self.operation:
            os.kill(os.getpid(), signal.SIGKILL)

    def cut(self, write, path):
        """Return a write of two halves, with a moment to die around each."""

        def halves(data):
            data = memoryview(data).cast("B")
            for half in (data[: len(data) // 2], data[len(data) // 2 :]):
                self.meet(path)
                write(half)
            self.meet(path)
            return len(data)

        return halves


class CutFile:
    """A file whose writes are cut."""

    def __init__(self, file, fate):
        self.file = file
        self.write = fate.cut(self.write_through, file.name)

    def write_through(self, data):
        self.file.write(data)
        self.file.flush()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def __getattr__(self, name):
        return getattr(self.file, name)


def run_of(path, out):
    options = {"batch_size": 23, "out": out, "checkpoint_every": INTERVAL}
    return trainer(path, 2, None, **options)


def objects(place):
    """Return a storage that writes as to an object store: in place, without rename."""
    return ObjectStorage(f"file://{place}")


def train_and_die(path, out, remote, step, operation, told=None):
    """Train in a process of its own, until `operation` of the write of `step`."""
    fate = Fate(step, operation)
    opened, written = Path.open, LocalFileOpener.write

    def open_cut(self, mode="r", *args, **options):
        file = opened(self, mode, *args, **options)
        return CutFile(file, fate) if mode == "wb" else file

    def write_cut(self, data):
        def through(half):
            written(self, half)
            self.f.flush()

        return fate.cut(through, self.path)(data)

    Path.open, LocalFileOpener.write = open_cut, write_cut
    sys.addaudithook(fate.audit)
    if remote:
        recorder.open_storage = objects
    if told is not None:
        recorder.save_checkpoint = only_of(step, fate, told)
    run_of(path, out).fit(EPOCHS)


def only_of(step, fate, told):
    """Count the operations of one checkpoint."""
    save = recorder.save_checkpoint

    def counted(storage, checkpoint, keep):
        name = save(storage, checkpoint, keep)
        if checkpoint.step == step:
            told.put(fate.count)
        return name

    return counted


def in_a_process(*args):
    process = forking().Process(target=train_and_die, args=args)
    process.start()
    process.join()
    return process.exitcode


@pytest.fixture(scope="module")
def undisturbed(path):
    run = trainer(path, 2, None, batch_size=23)
    run.fit(EPOCHS)
    assert run.plan.steps_per_epoch == STEPS
    return run.params_sha256


@pytest.fixture(scope="module")
def operations(path, tmp_path_factory):
    """How many moments there are to die in one checkpoint's write, by storage."""
    out = tmp_path_factory.mktemp("counted")
    told = forking().SimpleQueue()
    counts = {}
    for remote in (False, True):
        code = in_a_process(path, str(out / f"{remote}"), remote, FATAL[0], 10**9, told)
        assert code == 0
        counts[remote] = told.get()
    # Every array is written in halves, beside the names.
    assert min(counts.values()) > TRIALS
    return counts


@pytest.mark.parametrize("remote", [False, True], ids=["directory", "objects"])
@pytest.mark.parametrize("trial", trials(TRIALS, quick=1))
def test_a_checkpoint_cut_short(
    path, undisturbed, operations, tmp_path, monkeypatch, told, trial, remote
):
    told.name = f"SIGKILL in a checkpoint's write, {['directory', 'objects'][remote]}"
    step = FATAL[trial % len(FATAL)]
    # The first trials, which every CI runs, are in the middle of the write.
    operation = (trial + TRIALS // 2) % TRIALS * operations[remote] // TRIALS
    out = tmp_path / "run"
    assert in_a_process(path, str(out), remote, step, operation) == -signal.SIGKILL

    place = out / "checkpoints"
    storage = objects(place) if remote else open_storage(place)
    found = newest_checkpoint(storage).step
    # The one before stands; the one under way may be whole, and is then the newest.
    assert step - INTERVAL <= found <= step
    if not remote:
        for name in storage.names():
            load_checkpoint(place / name)
    before = [r["step"] for r in records(out) if r["event"] == "step"]
    assert before == list(range(len(before)))
    if remote:
        monkeypatch.setattr(recorder, "open_storage", objects)
    again = run_of(path, out)
    again.fit(EPOCHS, resume=True)
    told.same = again.params_sha256 == undisturbed
    (resume,) = [r for r in records(out) if r["event"] == "resume"]
    told.redone = len(before) - found
    assert told.same
    assert resume["step"] == found
    assert told.redone <= INTERVAL
