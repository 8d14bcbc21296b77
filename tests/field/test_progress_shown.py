"""A program that trains shows a bar where somebody watches, and nothing elsewhere."""

import io
import sys
import types

import pytest
from training import trainer

from daskgnn.errors import InputError
from daskgnn.train import progress
from daskgnn.train.persist.recorder import Silent


class Terminal(io.StringIO):
    """Standard error of a program at a terminal."""

    def isatty(self):
        return True


class Broken(Terminal):
    """A terminal that is gone."""

    def write(self, text):
        raise OSError("nobody is there")


def fitted(path, monkeypatch, stream, **options):
    monkeypatch.setattr(sys, "stderr", stream)
    run = trainer(path, 1, None, **options)
    run.fit(2)
    run.fit(3)
    return run


def test_a_terminal_gets_a_bar(small_path, monkeypatch):
    run = fitted(small_path, monkeypatch, Terminal())
    shown = sys.stderr.getvalue()
    steps = run.run_state.state.step
    assert f"| {2 * steps // 3}/{2 * steps // 3} [" in shown
    assert f"| {steps}/{steps} [" in shown
    assert "val_accuracy" in shown
    assert shown.endswith("\n")


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_nothing_is_shown_elsewhere_or_if_not_wanted(small_path, monkeypatch, stream):
    options = {"progress": None} if stream is Terminal else {}
    fitted(small_path, monkeypatch, stream(), **options)
    assert sys.stderr.getvalue() == ""


def test_training_goes_on_when_nobody_watches_any_more(small_path, monkeypatch):
    run = fitted(small_path, monkeypatch, Broken())
    assert run.run_state.position.epoch == 3


def test_a_notebook_gets_its_own_bar(monkeypatch):
    shell = types.SimpleNamespace(config={"IPKernelApp": {}})
    kernel = types.SimpleNamespace(get_ipython=lambda: shell)
    monkeypatch.setitem(sys.modules, "IPython", kernel)
    from tqdm.auto import tqdm

    assert progress.chosen_progress("auto")._new_bar is tqdm
    monkeypatch.setattr(shell, "config", {})
    assert isinstance(progress.chosen_progress("auto"), Silent)


def test_what_is_no_progress_is_refused(small_path):
    with pytest.raises(InputError, match="progress=True has no method 'started'"):
        trainer(small_path, 1, None, progress=True)
