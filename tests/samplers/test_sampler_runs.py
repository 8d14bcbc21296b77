"""Every sampler that has a name, trained: the same bits however it is carried out."""

import os
import signal

import pytest
from training import AT_ONCE, AtStep, mostly_slow, small_sage, stop, trainer

from daskgnn.train.options.samplers import SAMPLERS

TEXTS = {
    "fastgcn": "fastgcn:size=60",
    "ladies": "ladies:size=60",
    "saint": "saint:kind=walk,roots=40,length=2",
    "cluster": "cluster:clusters=4",
    "shadow": "shadow:hops=2,fanout=3",
}
OTHER_KINDS = [
    "neighbor:replace=true",
    "labor:variant=i",
    "labor:variant=*",
    "labor:estimator=ht",
    "fastgcn:size=60,form=replacement",
    "ladies:size=60,form=replacement",
    "ladies:size=60,form=released",
    "saint:kind=node",
    "saint:kind=edge",
    "shadow:method=ppr",
    "shadow:hops=2,fanout=3,readout=mean",
]
NAMED = [TEXTS.get(name, name) for name in SAMPLERS if name != "neighbor"]


def sampled(path, text, client=None, **options):
    """Return a trainer whose minibatches are sampled as a text says."""
    fan_outs = SAMPLERS[text.partition(":")[0]].takes_fan_outs
    given = {"num_neighbors": [5, 3] if fan_outs else None, "batch_size": 100}
    return trainer(path, 2, client, sampler=text, window=2, **AT_ONCE | given | options)


def bits(path, text, client=None, **options):
    """Return the hash of a training."""
    run = sampled(path, text, client, **options)
    run.fit(2)
    return run.params_sha256


@pytest.mark.parametrize("text", mostly_slow(NAMED, "labor", TEXTS["saint"]))
def test_any_workers_and_both_forms_have_the_same_bits(small_path, cluster, text):
    expected = bits(small_path, text)
    assert bits(small_path, text, cluster(2), steps="window") == expected
    assert bits(small_path, text, cluster(1), steps="tasks") == expected


@pytest.mark.slow
@pytest.mark.parametrize("text", [*NAMED, *OTHER_KINDS])
@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("form", ["tasks", "window"])
def test_every_kind_has_the_same_bits(small_path, cluster, text, workers, form):
    found = bits(small_path, text, cluster(workers), steps=form)
    assert found == bits(small_path, text)


@pytest.mark.parametrize("text", NAMED)
def test_a_resumed_run_ends_with_the_same_bits(small_path, tmp_path, text):
    how = {"out": str(tmp_path), "checkpoint_every": 1}
    with pytest.raises(RuntimeError, match="stopped"):
        sampled(small_path, text, progress=AtStep(1, stop), **how).fit(2)
    run = sampled(small_path, text, **how)
    run.fit(2, resume=True)
    assert run.params_sha256 == bits(small_path, text)


@pytest.mark.slow
@pytest.mark.parametrize("text", [*NAMED, *OTHER_KINDS])
def test_a_killed_worker_changes_no_bit(small_path, killable, text):
    def kill():
        os.kill(min(killable.run(os.getpid).values()), signal.SIGKILL)

    found = bits(small_path, text, killable, progress=AtStep(1, kill))
    assert found == bits(small_path, text)


@pytest.mark.parametrize("text", [*NAMED, *OTHER_KINDS])
def test_training_learns(small_path, text):
    run = sampled(small_path, text, model=small_sage, lr=0.03)
    history = run.fit(10)
    assert history.epochs[-1]["loss"] < 0.8 * history.epochs[0]["loss"]
    assert run.evaluate("test")["accuracy"] > 0.5
