"""Every sampler that has a name, trained: the same bits however it is carried out."""

import os
import signal
from dataclasses import replace

import numpy as np
import pytest
from training import AT_ONCE, AtStep, mostly_slow, small_sage, stop, trainer

from daskgnn.dataflow.memory import WindowBudget, plan_memory
from daskgnn.train.ahead import Lookahead
from daskgnn.train.compute.session import TrainSession
from daskgnn.train.options.samplers import SAMPLERS, chooses_seeds
from daskgnn.train.plan import Position, windows
from daskgnn.train.presampling import ensure_presampled
from daskgnn.train.warmup import tiny_window

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
    given = {"num_neighbors": [5, 3] if fan_outs else None}
    given["batch_size"] = 1024 if chooses_seeds(text) else 100
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


WARMED = ["neighbor", *NAMED, *OTHER_KINDS]


@pytest.mark.parametrize("text", mostly_slow(WARMED, "labor", TEXTS["cluster"]))
def test_kernels_are_warmed_up_with_what_the_run_samples(small_path, text):
    """A step on the made-up graph has arrays of the kinds that the run's have."""
    run = sampled(small_path, text)
    run.deployment.load()
    ensure_presampled(run)
    plan = run.deployment.preparation
    (blocks,) = run.executor.result([plan.blocks.keys[0]])
    tiny = tiny_window(plan, blocks.content)
    TrainSession(run.program, run.run_state.state).gradient(tiny, 0)
    ahead = Lookahead.of(run.deployment, run.plan)
    first = ahead.next(windows(run.plan, Position(), 1, lambda: 1, None))
    (real, _) = run.executor.result(first.batches)
    ahead.close()
    assert kinds_of(tiny.steps[0]) == kinds_of(real.steps[0])


@pytest.mark.parametrize("text", ["neighbor:sample_by=degree", *NAMED, *OTHER_KINDS])
def test_the_memory_plan_has_what_is_kept_beside_rows(small_path, text):
    run = sampled(small_path, text)
    run.deployment.load()
    ensure_presampled(run)
    keys = list(run.deployment.preparation.blocks.keys)
    parts = run.executor.result(keys)
    kept = [sum(array.nbytes for array in p.rows.data.values()) for p in parts]
    planned = run.deployment.step_size.kept
    assert np.mean(kept) == pytest.approx(planned, rel=0.1)
    without = replace(run.deployment.step_size, kept=0)
    budget = WindowBudget(0, 4, 1, 0.3)
    plans = [
        plan_memory(run.graph, size, budget, num_workers=2)
        for size in (run.deployment.step_size, without)
    ]
    assert plans[0].block_bytes - plans[1].block_bytes == planned


def kinds_of(step):
    """Return the types of a prepared step's arrays; None of those that it lacks."""
    graph = step.graph
    arrays = [step.x, step.aggregated, step.labels, graph.target_weights, graph.pools]
    for rows in graph.rows:
        arrays += [rows.indptr, rows.indices, rows.weights, rows.mean_weights]
    return [None if array is None else array.dtype for array in arrays]


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
