"""Where parts go: pure decisions."""

from itertools import product

import pytest

from daskgnn.cluster.balance import (
    MEMORY_SECONDS,
    Loads,
    Timings,
    balance,
    finish_time,
    in_runs,
    place,
)


def test_runs_are_of_equal_length_and_keep_neighbours_together():
    assert in_runs(5, ["b", "a"]) == ["a", "a", "a", "b", "b"]
    assert in_runs(2, ["c", "a", "b"]) == ["a", "b"]


def test_parts_stay_whose_workers_are_there():
    places = ["b", "a", "b", "a"]
    assert place(places, ["a", "b", "c"], Loads()) == places


def test_parts_of_the_dead_go_where_they_are_done_first():
    places = ["a", "a", "a", "dead", "b", "b"]
    assert place(places, "ab", Loads())[3] == "b"
    slow = Loads((1.0,) * 6, {"b": 3.0})
    assert place(places, "ab", slow)[3] == "a"


def test_of_equals_the_neighbour_is_taken():
    assert place(["b", "dead", "b", "a", "a"], "ab", Loads())[1] == "b"
    assert place(["a", "a", "b", "b", None], "ab", Loads())[4] == "b"


def test_a_lone_survivor_gets_all():
    assert place(["a", "b", "c"], ["c"], Loads()) == ["c", "c", "c"]


def test_a_newcomer_takes_parts_over():
    places = balance(["a"] * 4, ["a", "b"], Loads())
    assert sorted(places) == ["a", "a", "b", "b"]
    # One to two to four workers.
    assert sorted(balance(places, "abcd", Loads())) == list("abcd")


def test_nothing_moves_for_little():
    loads = Loads((1.0, 1.0, 1.1, 1.0))
    places = ["a", "a", "b", "b"]
    assert balance(places, "ab", loads) == places
    # As good as it gets: three parts on two workers.
    assert balance(["a", "a", "b"], "ab", Loads()) == ["a", "a", "b"]


@pytest.mark.parametrize("slowness", [2.0, 4.0])
def test_parts_leave_a_slow_worker(slowness):
    places = in_runs(8, "ab")
    loads = Loads((1.0,) * 8, {"a": 1.0, "b": slowness})
    moved = balance(places, "ab", loads)
    # Every assignment of 8 equal parts to two workers is a number of them on b.
    best = min(max(8 - n, n * slowness) for n in range(9))
    assert finish_time(moved, "ab", loads) == pytest.approx(best)


def test_no_single_move_makes_it_better():
    costs = (3.0, 1.0, 2.0, 2.5, 0.5, 1.0)
    loads = Loads(costs, {"a": 1.0, "b": 1.3, "c": 0.8})
    moved = balance(["a"] * 6, "abc", loads)
    reached = finish_time(moved, "abc", loads)
    for part, worker in product(range(6), "abc"):
        other = [*moved[:part], worker, *moved[part + 1 :]]
        assert finish_time(other, "abc", loads) >= reached - 1e-9


def test_a_slow_worker_and_a_dear_part_are_told_apart():
    timings = Timings(4)
    for now in range(20):
        timings.add(["a", "a", "b", "b"], [1.0, 1.0, 3.0, 3.0], now)
    first = timings.loads()
    # Parts that were nowhere else are taken for alike.
    assert first.slowness["b"] / first.slowness["a"] > 2
    # Then part 2 goes to a, and takes as long there: it is dear, not b slow.
    for now in range(20, 40):
        timings.add(["a", "a", "a", "b"], [1.0, 1.0, 3.0, 3.0], now)
    loads = timings.loads()
    assert loads.slowness["b"] / loads.slowness["a"] < 2
    assert loads.costs[2] / loads.costs[0] > 1.5


def test_what_is_old_is_forgotten():
    timings = Timings(1)
    timings.add(["slow"], [9.0], 0.0)
    timings.add(["a"], [1.0], MEMORY_SECONDS / 2)
    assert "slow" in timings.loads().slowness
    timings.add(["a"], [1.0], MEMORY_SECONDS * 1.1)
    assert "slow" not in timings.loads().slowness
    timings.forget("a")
    assert timings.loads() == Loads()
