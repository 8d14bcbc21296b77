"""How many workers to use."""

import random

import pytest

from daskgnn.train.profile.advice import Advisor, expected_seconds


def measured(workers, parts, rest, costs=1.0):
    """Return a step's seconds as they are if each part costs the same."""
    return -(-parts // workers) * costs + rest


def test_expected_is_what_equal_workers_take():
    for parts, workers, wanted in [(4, 1, 2), (4, 2, 4), (8, 3, 4), (4, 4, 2)]:
        now = measured(workers, parts, 0.3)
        then = expected_seconds(now, [1.0] * parts, workers, wanted)
        assert then == pytest.approx(measured(wanted, parts, 0.3))


def test_hidden_work_is_not_promised_twice():
    """A step of 1 s in which 2 s of work overlap: half the workers' share counts."""
    assert expected_seconds(1.0, [1.0, 1.0], 1, 2) == pytest.approx(0.5)
    assert expected_seconds(0.2, [0.0, 0.0], 1, 2) == 0.2


def grown(truth, parts, most, least=1, begin=1, windows=60):
    """Let an advisor scale a made-up cluster; return the numbers it chose."""
    chosen = [begin]
    advisor = Advisor(least, most, chosen.append)
    for _ in range(windows):
        seconds, part_seconds = truth(chosen[-1])
        advisor.add(chosen[-1], seconds, part_seconds)
    return chosen, advisor


def test_it_grows_while_that_helps():
    chosen, advisor = grown(lambda n: (measured(n, 8, 0.1), [1.0] * 8), 8, 4)
    assert chosen == [1, 2, 3, 4]
    assert "4 workers are enough" in str(advisor.advice())


def test_it_never_has_more_workers_than_parts():
    chosen, _ = grown(lambda n: (measured(n, 2, 0.1), [1.0] * 2), 2, 8)
    assert chosen == [1, 2]


def test_it_takes_back_what_did_not_help():
    """Two cores: a third worker makes no step faster, whatever was expected."""

    def truth(workers):
        return measured(min(workers, 2), 8, 0.1) * 1.02**workers, [1.0] * 8

    chosen, advisor = grown(truth, 8, 8)
    assert chosen[:4] == [1, 2, 3, 2]
    assert len(chosen) == 4
    assert advisor.advice().best == 2


def test_bounds_are_kept():
    chosen, _ = grown(lambda n: (1.0, [0.001] * 4), 4, 4, least=2, begin=2)
    assert chosen == [2]


def test_noise_is_not_followed_for_ever():
    """Times that differ by chance: it changes its mind ever more seldom."""
    rng = random.Random(0)
    chosen, _ = grown(lambda n: (rng.uniform(0.5, 2), [0.5, 0.5]), 2, 2, windows=2000)
    assert 3 < len(chosen) < 20
    assert set(chosen) == {1, 2}


def test_nothing_is_said_of_nothing():
    assert Advisor().advice() is None
