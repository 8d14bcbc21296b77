"""A stage's worker dies in mid-step: the step is dropped and redone, same bits."""

import random
import threading

import pytest
from faults import kill_one, kill_scheduler, trials
from pipelines import batch, pipeline, trained

from daskgnn.cluster.clusters import own_cluster
from daskgnn.pipeline import engine
from daskgnn.pipeline.run import held_here

STEPS, SECONDS = 6, 0.03


def disturbed(client, trial, form, kill=kill_one):
    """Train, with a process killed at a random moment; return facts and the steps."""
    rng = random.Random(trial)
    run = pipeline(client, stages=3, form=form, slow=SECONDS)
    results = [run.step(*batch(0))]
    timer = threading.Timer(rng.uniform(0, 3) * 8 * SECONDS, kill, (client, rng))
    timer.start()
    results += [run.step(*batch(step)) for step in range(1, STEPS)]
    timer.join()
    facts = run.params_sha256, [result.loss for result in results]
    held = run._cluster.client.run(held_here, on_error="ignore")
    assert set(held.values()) <= {0}
    run.close()
    return facts, results


def same(facts):
    return facts == trained(STEPS)[:2]


@pytest.mark.parametrize("trial", trials(20, quick=0))
@pytest.mark.parametrize("form", ["workers", "operations"])
def test_a_killed_worker_changes_no_bit(form, trial, killable, told):
    facts, results = disturbed(killable, trial, form)
    told.form, told.same = form, same(facts)
    told.redone = max(result.redone for result in results)
    told.seconds = max(result.seconds for result in results)
    assert told.same
    assert told.redone <= 1
    assert told.seconds < 10


@pytest.mark.chaos
def test_a_large_state_is_redone_from_the_last_that_came_back(killable, monkeypatch):
    monkeypatch.setattr(engine, "SMALL_STATE", 0)
    monkeypatch.setattr(engine, "SNAPSHOT_STEPS", 4)
    facts, results = disturbed(killable, 3, "workers")
    assert same(facts)
    assert max(result.redone for result in results) <= 4


@pytest.mark.chaos
def test_another_scheduler_goes_on_where_one_is_killed():
    with own_cluster(2) as client:
        facts, results = disturbed(client, 1, "workers", kill_scheduler)
    assert same(facts)
    assert max(result.redone for result in results) == 1
