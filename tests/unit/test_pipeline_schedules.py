"""Schedules of pipelines: complete, never blocked, as long as the formulas say."""

import pytest

from daskgnn.errors import InputError
from daskgnn.pipeline.schedules import (
    SCHEDULES,
    Operation,
    Shape,
    assign,
    make_schedule,
)
from daskgnn.pipeline.simulate import check_complete, ideal_seconds, simulate

WHOLE = {"F": 1.0, "B": 2.0}
SPLIT = {"F": 1.0, "B": 1.0, "W": 1.0}


def shape_of(name, stages, micro_batches, copies=1, workers=None):
    workers = stages * copies if workers is None else workers
    return Shape(name, stages, micro_batches, assign(name, stages, copies, workers))


def simulated(name, *given, **more):
    shape = shape_of(name, *given, **more)
    return simulate(shape, make_schedule(shape), SPLIT if shape.splits else WHOLE)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("stages", [1, 2, 3, 5])
def test_any_shape_has_a_schedule_that_does_not_block(name, stages):
    for micro_batches in (1, 2, 5):
        for workers in (1, 2, 3, 5, 7):
            for copies in (1, 2, 3):
                simulated(name, stages, micro_batches, copies, workers)


@pytest.mark.parametrize("name", ["gpipe", "1f1b", "zero-bubble"])
@pytest.mark.parametrize("stages", [1, 2, 3, 4, 6])
def test_time_is_that_of_the_formula(name, stages):
    for micro_batches in (stages, stages + 1, 2 * stages, 4 * stages):
        found = simulated(name, stages, micro_batches)
        durations = SPLIT if name == "zero-bubble" else WHOLE
        expected = ideal_seconds(name, stages, micro_batches, durations)
        assert found.seconds == expected


@pytest.mark.parametrize(("stages", "workers"), [(4, 2), (8, 2), (8, 4), (12, 3)])
def test_interleaving_divides_the_bubble(stages, workers):
    chunks = stages // workers
    for micro_batches in (workers, 2 * workers, 4 * workers):
        found = simulated("interleaved", stages, micro_batches, 1, workers)
        # (S - 1) / (v M) of the busy time, Narayanan et al.
        assert found.seconds == 3.0 * (chunks * micro_batches + workers - 1)


def test_bubble_is_the_share_of_the_literature():
    stages, micro_batches = 4, 8
    share = (stages - 1) / (micro_batches + stages - 1)
    for name in ("gpipe", "1f1b"):
        found = simulated(name, stages, micro_batches).bubble(stages)
        assert found == pytest.approx(share)


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_activations_held_are_few(workers):
    stages, micro_batches = 4, 16
    held = {
        name: simulated(name, stages, micro_batches, 1, workers).held
        for name in SCHEDULES
    }
    assert all(count == micro_batches for count in held["gpipe"].values())
    assert all(n <= stages - stage for (_, stage), n in held["1f1b"].items())
    assert all(n <= stages for n in held["zero-bubble"].values())


def test_zero_bubble_is_faster():
    whole, split = (simulated(n, 4, 4).seconds for n in ("1f1b", "zero-bubble"))
    assert whole / split == pytest.approx(21 / 15)


def test_one_worker_takes_a_micro_batch_through_all_stages_first():
    (operations,) = make_schedule(shape_of("1f1b", 3, 2, workers=1))
    assert [o.kind + str(o.stage) for o in operations[:6]] == [
        *("F0", "F1", "F2"),
        *("B2", "B1", "B0"),
    ]


def test_copies_have_workers_of_their_own():
    found = assign("1f1b", stages=2, copies=2, workers=4)
    assert found == {(0, 0): 0, (0, 1): 1, (1, 0): 2, (1, 1): 3}
    assert set(assign("1f1b", 2, 2, 1).values()) == {0}
    assert assign("gpipe", 2, 1, 5) == {(0, 0): 0, (0, 1): 1}


def test_devices_are_workers_as_far_as_there_are():
    devices = (0, 1, 0)
    assert list(assign("gpipe", 3, 1, 2, devices).values()) == [0, 1, 0]
    assert list(assign("gpipe", 3, 1, 1, devices).values()) == [0, 0, 0]


def test_messages_take_time_between_workers_only():
    for workers, expected in ((2, 6.0 + 0.2), (1, 6.0)):
        shape = shape_of("gpipe", 2, 1, workers=workers)
        found = simulate(shape, make_schedule(shape), WHOLE, message=0.1)
        assert found.seconds == pytest.approx(expected)


def test_what_is_no_schedule_is_seen():
    shape = shape_of("gpipe", 2, 2)
    good = make_schedule(shape)
    check_complete(shape, good)
    with pytest.raises(ValueError, match="lacks"):
        check_complete(shape, [good[0][:-1], good[1]])
    with pytest.raises(ValueError, match="late"):
        check_complete(shape, [good[0][::-1], good[1]])
    with pytest.raises(ValueError, match="not on"):
        check_complete(shape, good[::-1])
    backward_first = sorted(good[1], key=lambda o: o.kind)
    with pytest.raises(ValueError, match="blocks"):
        simulate(shape, [good[0], backward_first], WHOLE)


def test_an_unknown_schedule_is_refused():
    with pytest.raises(InputError, match="'2f2b', expected one of gpipe"):
        make_schedule(shape_of("2f2b", 1, 1))
    assert Operation("F", 0, 1, 2).micro_batch == 2
