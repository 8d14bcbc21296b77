"""What is said of a run's start, and what its warm-up does not decide."""

import warnings

import numpy as np
import pytest
from field_steps import linear, run_of
from training import planted_graph


def test_patience_begins_after_the_warm_up():
    """Nothing learns, so no score is better than the first."""
    for warmup, epochs in ((0, 3), (4, 3), (8, 4), (12, 5)):  # 4 steps an epoch
        run = run_of(linear(), warmup_steps=warmup, lr=0.0, patience=2)
        assert run.plan.steps_per_epoch == 4
        run.fit(20)
        assert (run.summary()["stopped_early"], run.run_state.position.epoch) == (
            True,
            epochs,
        )


def test_patience_without_a_validation_split_is_said():
    data = planted_graph(120, name="small")
    del data.splits["val"]
    run = run_of(linear(), data=data, patience=2, lr=0.0)
    with pytest.warns(UserWarning, match="patience=2 has no effect.*no validation"):
        run.fit(4)
    assert run.run_state.position.epoch == 4


def features(scale, signed=True, sparse=False):
    drawn = np.random.default_rng(0).normal(size=(120, 12))
    if sparse:
        drawn[drawn < 0.5] = 0
    return planted_graph(
        120,
        name="small",
        features=(scale * (drawn if signed else abs(drawn))).astype(np.float32),
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"scale": 1000}, r"norms of about 3.*scale columns.*x\.std\(0\)"),
        ({"scale": 1000, "signed": False}, "normalize_features=True"),
        ({"scale": 1000, "sparse": True}, "normalize_features=True"),
    ],
)
def test_large_features_are_said_once_before_the_first_step(options, said):
    run = run_of(linear(), data=features(**options), lr=1e-9)
    with pytest.warns(UserWarning, match=said) as told:
        run.fit(1)
    assert len(told) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run.fit(2)


def test_usual_features_are_not_spoken_of():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run_of(linear(), data=features(5), lr=1e-9).fit(1)
        scaled = {"lr": 1e-9, "normalize_features": True}
        run_of(linear(), data=features(1000, signed=False), **scaled).fit(1)
