"""Bundles of tasks: the same results as the tasks, whatever is bundled."""

import operator

import numpy as np
import pytest
from dask.local import get_sync
from dask.task_spec import DataNode, List, Task, TaskRef
from hypothesis import given, settings
from hypothesis import strategies as st

from daskgnn.dataflow.bundle import Bundle, bundled, in_one_task
from daskgnn.kernels.record import array_bytes

PARTS = 5


@st.composite
def graphs(draw):
    """Tasks that add up earlier ones' results, those from outside too."""
    tasks = {}
    outside = [("block", part) for part in range(PARTS)]
    for number in range(draw(st.integers(1, 25))):
        known = [*outside, *tasks]
        inputs = draw(st.lists(st.sampled_from(known), max_size=4))
        key = ("task", number, draw(st.integers(0, PARTS - 1)))
        tasks[key] = Task(key, total, number, List(*map(TaskRef, inputs)))
    return tasks


def total(number, inputs):
    return 3 * number + 2 * sum(inputs)


def run(tasks, wanted):
    """Run tasks beside blocks that are results of others."""
    blocks = {("block", p): DataNode(("block", p), 7 * p) for p in range(PARTS)}
    return get_sync({**blocks, **tasks}, list(wanted))


@given(
    graphs(),
    st.lists(st.sampled_from("abc"), min_size=PARTS, max_size=PARTS),
    st.data(),
)
@settings(deadline=None)
def test_results_do_not_depend_on_what_is_bundled(tasks, places, data):
    wanted = data.draw(st.lists(st.sampled_from(list(tasks)), unique=True, min_size=1))
    graph = bundled(tasks, wanted, places, ("run", 0))
    assert run(graph, wanted) == run(tasks, wanted)


@given(graphs(), st.data())
@settings(deadline=None)
def test_all_tasks_in_one_give_the_same(tasks, data):
    key = data.draw(st.sampled_from(list(tasks)))
    graph = in_one_task(tasks, key)
    assert list(graph) == [key]
    assert run(graph, [key]) == run(tasks, [key])


def test_one_place_takes_one_task():
    tasks = {
        ("a", 0): Task(("a", 0), operator.add, 1, 2),
        ("b", 1): Task(("b", 1), operator.add, TaskRef(("a", 0)), 10),
    }
    graph = bundled(tasks, [("b", 1)], ["x", "x"], ("run", 3))
    assert list(graph) == [("b", 1)]


def test_tasks_grow_with_places_not_with_parts():
    places = ["x", "y"]
    few, many = (len(exchange(n, places)) for n in (2, 16))
    # A bundle with one result is that result's own task.
    assert many - few == 16


def exchange(num_parts, places):
    """Return an exchange of every part with every other, bundled."""
    parts = range(num_parts)
    tasks = {}
    for p in parts:
        for q in parts:
            tasks["want", q, p] = Task(("want", q, p), operator.add, p, q)
            serve = ("serve", p, q)
            tasks[serve] = Task(serve, operator.neg, TaskRef(("want", q, p)))
    for p in parts:
        replies = List(*(TaskRef(("serve", p, q)) for q in parts))
        tasks["merge", p] = Task(("merge", p), sum, replies)
    held = [places[p * len(places) // num_parts] for p in parts]
    wanted = [("merge", p) for p in parts]
    graph = bundled(tasks, wanted, held, ())
    assert run(graph, wanted) == run(tasks, wanted)
    return graph


def test_a_task_after_those_it_needs_is_asked_for():
    later = {
        ("b", 1): Task(("b", 1), operator.neg, TaskRef(("a", 0))),
        ("a", 0): Task(("a", 0), operator.neg, 1),
    }
    with pytest.raises(KeyError):
        bundled(later, [("b", 1)], ["x", "y"], ())


def test_size_is_that_of_the_arrays():
    bundle = Bundle((("a", 0),), (np.zeros(1000),))
    assert 8000 <= array_bytes(bundle) < 8300
