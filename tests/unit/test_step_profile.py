"""Where time goes: windows' accounts, their sums, and the text and picture of them."""

import json

import numpy as np
import pytest
import torch
from dask.local import get_sync
from dask.task_spec import DataNode, List, Task, TaskRef
from training import planted_graph, stored, trainer

from daskgnn.dataflow.steps.clock import Work, together
from daskgnn.dataflow.steps.peers import MemberReport
from daskgnn.dataflow.timing import (
    Timed,
    TimedWindow,
    Transfers,
    report_of,
    timed,
)
from daskgnn.errors import InputError
from daskgnn.kernels.batch import PreparedWindow
from daskgnn.kernels.seeds import SeedPlan
from daskgnn.kernels.targets import Targets
from daskgnn.kernels.traffic import Traffic
from daskgnn.train.plan import Position, some_windows
from daskgnn.train.profile.stepprofile import StepProfile
from daskgnn.train.profile.windowprofile import CROSSED, WindowProfile

BEGAN, WALL = 1000.0, 2.0
"""When steps were submitted, and seconds until their result."""


def report(address, began, ended, meetings, **spent):
    work = Work({name: (s, s / 2) for name, s in spent.items()}, began, ended)
    return MemberReport(address, work, tuple(meetings), 800, len(meetings))


def profile(members=(), work=(), finished=(BEGAN - 1,), steps=2, form="window"):
    prepared = tuple(
        TimedWindow((), None, {"sample": (0.2, 0.1), "gather": (0.4, 0.3)}, when)
        for when in finished
    )
    crossed = dict.fromkeys(CROSSED, 0) | {"remote_rows": 20, "remote_bytes": 4000}
    crossed |= {"cache_hits": 5, "cache_misses": 15}
    return WindowProfile(
        steps,
        form,
        BEGAN - 5,
        BEGAN,
        9,
        prepared,
        tuple(members),
        tuple(work),
        crossed,
    )


def two_members(shift=0.0):
    """Return members of two steps; the second computes longer and is waited for."""
    first = report(
        "a",
        BEGAN + 0.1,
        BEGAN + 1.9,
        [(BEGAN + 0.5, BEGAN + 0.81), (BEGAN + 1.2, BEGAN + 1.61)],
        form=0.1,
        forward=0.3,
        backward=0.4,
        exchange=0.72,
        update=0.2,
        other=0.08,
    )
    second = report(
        "b",
        shift + BEGAN + 0.2,
        shift + BEGAN + 1.8,
        [
            (shift + BEGAN + 0.8, shift + BEGAN + 0.8),
            (shift + BEGAN + 1.6, shift + BEGAN + 1.6),
        ],
        form=0.0,
        forward=0.6,
        backward=0.8,
        exchange=0.0,
        update=0.2,
    )
    return first, second


def test_a_members_lines_add_up_to_the_wall_time():
    columns, cpu = profile(two_members()).lines(WALL)
    for lines in columns.values():
        assert sum(lines.values()) == pytest.approx(WALL)
        assert min(lines.values()) >= 0
    # Bytes take from when the last one came; before that the slower was waited for.
    assert columns["a"]["exchange"] == pytest.approx(0.02)
    assert columns["a"]["peers"] == pytest.approx(0.70)
    assert columns["b"]["exchange"] == columns["b"]["peers"] == 0
    assert columns["a"]["dask"] == pytest.approx(0.2)
    assert cpu["forward"] == pytest.approx(0.45)


def test_clocks_that_differ_leave_the_sum_as_it_is():
    for shift in (-50.0, 0.3, 50.0):
        columns, _ = profile(two_members(shift)).lines(WALL)
        for lines in columns.values():
            assert sum(lines.values()) == pytest.approx(WALL)
            assert min(lines.values()) >= 0


@pytest.mark.parametrize(
    ("ready", "batches", "form", "dask"),
    [
        (-1.0, 0.0, 0.1, 0.2),
        (0.04, 0.04, 0.1, 0.16),
        # The own batch came first; a peer's while this member waited for it.
        (0.17, 0.17, 0.03, 0.1),
        (9.0, 0.2, 0.0, 0.1),
    ],
)
def test_waiting_for_batches_is_told_from_dask(ready, batches, form, dask):
    first, _ = two_members()
    columns, _ = profile([first], finished=(BEGAN - 2, BEGAN + ready)).lines(WALL)
    lines = columns["a"]
    assert lines["batches"] == pytest.approx(batches)
    assert lines["form"] == pytest.approx(form)
    assert lines["dask"] == pytest.approx(dask)
    assert sum(lines.values()) == pytest.approx(WALL)


def gradients(began, ended, forward, backward):
    return Work({"forward": (forward, 0.0), "backward": (backward, 0.0)}, began, ended)


def test_tasks_wait_for_the_slowest_worker():
    step = together(
        {"a": gradients(0.0, 0.3, 0.1, 0.2)},
        {"b": gradients(0.0, 0.4, 0.2, 0.2)},
        {"b": gradients(0.4, 0.6, 0.1, 0.1)},
        {"b": Work({"reduce": (0.05, 0.0), "update": (0.15, 0.0)})},
        {"elsewhere": Work({"reduce": (0.01, 0.0)})},
    )
    given = profile(work=[step, step], form="tasks", finished=(BEGAN + 0.1,))
    columns, _ = given.lines(WALL)
    assert columns.keys() == {"a", "b"}
    for lines in columns.values():
        assert sum(lines.values()) == pytest.approx(WALL)
        assert lines["dask"] == pytest.approx(WALL - 0.1 - 2 * 0.8)
        assert lines["update"] == pytest.approx(0.3)
    assert columns["a"]["peers"] == pytest.approx(0.6)
    assert columns["b"]["peers"] == 0


def test_parts_computed_side_by_side_share_the_time():
    step = together(
        {"a": gradients(0.0, 0.5, 0.1, 0.4)}, {"a": gradients(0.0, 0.5, 0.2, 0.3)}
    )
    lines = profile(work=[step], form="tasks").lines(WALL)[0]["a"]
    assert lines["forward"] == pytest.approx(0.15)
    assert lines["backward"] == pytest.approx(0.35)
    assert sum(lines.values()) == pytest.approx(WALL)


# -- sums over windows


class Time:
    """A clock that only moves when it is told to."""

    def __init__(self):
        self.now = 7.0

    def perf_counter(self):
        return self.now

    def time(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    import daskgnn.train.profile.stepprofile as module

    clock = Time()
    monkeypatch.setattr(module, "time", clock)
    return clock


def told(step_profile, clock, accounts, driver=0.5, outside=0.25):
    """Tell a ledger of windows, and of the driver's time around them."""
    step_profile.begin()
    for each in accounts:
        clock.now += driver
        step_profile.enter()
        clock.now += WALL
        step_profile.leave(each)
        clock.now += outside
        step_profile.resume()
    return step_profile


def test_the_first_window_on_a_cluster_does_not_count(clock):
    accounts = [profile(two_members(), steps=s) for s in (8, 2, 3)]
    figures = told(StepProfile(inline=False), clock, accounts).to_dict()
    assert figures["steps"] == 5
    assert figures["windows"] == 2
    assert figures["wall_ms"] == pytest.approx(2 * (WALL + 0.75) * 1000 / 5)
    assert figures["sum_ms"] == pytest.approx(figures["wall_ms"])
    for worker in "ab":
        column = [line["by_worker"][worker] for line in figures["lines"].values()]
        assert sum(column) == pytest.approx(figures["wall_ms"])
    assert sum(line["share"] for line in figures["lines"].values()) == pytest.approx(1)
    assert figures["dask"]["tasks"] == 18 / 5
    assert figures["halo"]["remote_bytes"] == 8000 / 5
    assert figures["gradients"]["exchange_ms"]["p50"] == pytest.approx(10, abs=0.01)
    assert figures["balance"]["max_over_mean"] == pytest.approx(1.4 / 1.05)


def test_a_single_window_counts(clock):
    figures = told(StepProfile(inline=False), clock, [profile(two_members())]).to_dict()
    assert figures["steps"] == 2
    assert not figures["without_first_window"]
    assert figures["sum_ms"] == pytest.approx(figures["wall_ms"])


def test_a_worker_that_came_late_counts_for_its_time(clock):
    both, alone = profile(two_members()), profile(two_members()[:1])
    step_profile = told(StepProfile(inline=False), clock, [both, both, alone])
    figures = step_profile.to_dict()
    for worker in "ab":
        column = [line["by_worker"][worker] for line in figures["lines"].values()]
        assert sum(column) == pytest.approx(figures["wall_ms"])
    assert figures["sum_ms"] == pytest.approx(figures["wall_ms"])


def test_in_one_process_preparation_is_part_of_the_sum(clock):
    step = {"local": gradients(0.0, 0.5, 0.1, 0.4)}
    given = profile(work=[step, step], form="tasks")
    step_profile = told(StepProfile(inline=True), clock, [given, given], driver=0.7)
    figures = step_profile.to_dict()
    assert figures["steps"] == 4
    assert figures["lines"]["sample"]["ms"] == pytest.approx(0.2 * 2 * 250)
    assert figures["lines"]["gather"]["ms"] == pytest.approx(0.4 * 2 * 250)
    assert figures["lines"]["driver"]["ms"] == pytest.approx(0.1 * 2 * 250)
    assert figures["sum_ms"] == pytest.approx(figures["wall_ms"])


def test_the_picture_and_the_table_show_what_the_figures_say(clock, tmp_path):
    from matplotlib.image import imread

    step_profile = told(StepProfile(inline=False), clock, [profile(two_members())] * 3)
    step_profile.transfers = {"gather": Transfers(4, 8_000_000, 0.1, 5.5)}
    figures, picture = step_profile.write(tmp_path / "new")
    assert json.loads(figures.read_text()) == step_profile.to_dict()
    assert figures.name == "profile.json"
    image = imread(picture)
    assert len(np.unique(image[..., :3].reshape(-1, 3), axis=0)) > 10
    text = step_profile.table()
    for line in step_profile.to_dict()["lines"].values():
        if line["ms"]:
            assert f"{line['label']} " in text
            assert f"{line['ms']:.2f}" in text
    assert "100.0%" in text
    assert "halo exchange" in text
    assert "halo cache: 25.0% of 10 rows" in text


def test_no_step_is_said_and_drawn(tmp_path):
    step_profile = StepProfile(inline=False)
    assert step_profile.table() == "no step was taken"
    assert step_profile.plot(tmp_path / "p.png").stat().st_size > 0


# -- preparations, timed


def slow(*values):
    return sum(v if isinstance(v, int) else sum(v) for v in values)


def last(value):
    return PreparedWindow((value,), Traffic.none(1))


def test_timed_tasks_give_the_same_and_count_each_time_once():
    graph = {
        ("sample", 0): Task(("sample", 0), slow, 1, 2),
        ("want", 0): Task(("want", 0), slow, TaskRef(("sample", 0))),
        ("rows", 0): Task(("rows", 0), slow, TaskRef(("want", 0)), 4),
        ("sample", 1): Task(
            ("sample", 1), slow, List(TaskRef(("rows", 0)), TaskRef(("want", 0))), 5
        ),
        ("gather", 0): Task(("gather", 0), last, TaskRef(("sample", 1))),
    }
    key = ("gather", 0)
    (plain,) = get_sync(graph, [key])
    measured = timed(graph, [key])
    (window,) = get_sync(measured, [key])
    assert window.steps == plain.steps == (15,)
    assert isinstance(window, TimedWindow)
    assert window.spent.keys() == {"sample", "want", "rows", "gather"}
    middle = get_sync(measured, list(graph)[:-1])
    assert all(isinstance(each, Timed) for each in middle)
    # Each result is counted by exactly one of the tasks that take it.
    takers = {("sample", 0): ("want", 0), ("rows", 0): ("sample", 1)}
    takers |= {("want", 0): ("sample", 1), ("sample", 1): key}
    assert [each.counted_by for each in middle] == [takers[k] for k in list(graph)[:-1]]
    told = report_of(window)
    assert (told.spent, told.finished) == (window.spent, window.finished)


def test_what_a_window_leaves_is_counted_by_the_next_one():
    cache, first, second = ("halo-cache", 0), ("gather", 0), ("gather", 1)
    graph = {cache: Task(cache, slow, 1), first: Task(first, last, 2)}
    left, window = get_sync(timed(graph, [first]), [cache, first])
    assert window.spent.keys() == {"gather"}
    later = timed({second: Task(second, last, TaskRef(cache))}, [second])
    (window,) = get_sync(later | {cache: DataNode(cache, left)}, [second])
    assert window.steps == (1,)
    assert window.spent.keys() == {"gather", "halo-cache"}


def test_errors_of_timed_tasks_are_those_of_the_tasks():
    key = ("gather", 0)
    graph = timed({key: Task(key, last, 1, 2)}, [key])
    with pytest.raises(TypeError, match="positional argument"):
        get_sync(graph, [key])


# -- a trainer's


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return stored(planted_graph(), tmp_path_factory.mktemp("graph") / "g.zarr")


def by_step(optimizer):
    return torch.optim.lr_scheduler.StepLR(optimizer, 3, 0.5)


def test_a_profile_adds_up_and_leaves_the_trainer_as_it_was(path):
    options = {"lr_scheduler": by_step, "scheduler_interval": "step"}
    plain, profiled = (trainer(path, 2, None, **options) for _ in range(2))
    plain.fit(2)
    profiled.fit(1)
    before = profiled.params_sha256
    # Beyond the end of the epoch, and of the one after.
    step_profile = profiled.profile(steps=11)
    figures = step_profile.to_dict()
    assert figures["steps"] == 11
    assert figures["sum_ms"] == pytest.approx(figures["wall_ms"], rel=0.05)
    for name in ("sample", "gather", "forward", "backward", "update"):
        assert figures["lines"][name]["ms"] > 0
    assert profiled.params_sha256 == before
    profiled.fit(2)
    assert profiled.params_sha256 == plain.params_sha256
    assert profiled.step_profile.steps == plain.step_profile.steps / 2


@pytest.mark.parametrize("steps", [0, -3, 2.5, True, "8"])
def test_a_number_of_steps_is_refused(path, steps):
    with pytest.raises(InputError, match="steps="):
        trainer(path, 2, None).profile(steps)


def test_what_compresses_gradients_is_drawn_too(path, tmp_path):
    compressing = trainer(path, 2, None, compress="int8")
    compressing.fit(1)
    figures, picture = compressing.write_profile(tmp_path)
    assert json.loads(figures.read_text())["lines"]["compress"]["ms"] > 0
    assert picture.stat().st_size > 0


def test_no_profile_before_a_fit(path, tmp_path):
    with pytest.raises(InputError, match="fit"):
        trainer(path, 2, None).write_profile(tmp_path)


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 9, 10])
def test_windows_of_some_steps(steps):
    plan = SeedPlan(Targets(np.arange(10), np.arange(10)[:, None]), 3, seed=0)
    found = list(some_windows(plan, Position(1, 1), steps, lambda: 2))
    assert sum(window.size for window in found) == steps
    assert (found[0].epoch, found[0].first) == (1, 1)
    done = [(w.epoch, w.first + i) for w in found for i in range(w.size)]
    assert done == [divmod(5 + i, 4) for i in range(steps)]
