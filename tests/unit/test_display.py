"""What a notebook and a prompt show, read back and compared with the objects."""

import doctest
import json
from html.parser import HTMLParser
from importlib import import_module

import numpy as np
import pytest
from training import planted_graph, small_sage, stored, trainer

import daskgnn
from daskgnn import History, InputError
from daskgnn.display import html_table, words
from daskgnn.train.chaos import ChaosReport

HOSTILE = '<script>alert("1 & 2")</script>'
DOCUMENTED = ("display", "train.persist.history")


class Reader(HTMLParser):
    """Reads a page's tables: a list of cells for each row."""

    def __init__(self, text):
        super().__init__()
        self.text, self.rows, self.tags, self.open = "", [], set(), []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.open.append(tag)
        told = dict(attrs)
        # A colour that is set would be wrong on a dark page, or on a light one.
        assert told.keys() <= {"style"}
        assert told.get("style", "text-align: left").startswith("text-align: ")
        if tag == "tr":
            self.rows.append([])
        elif tag in ("th", "td"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data
        if self.open and self.open[-1] in ("th", "td"):
            self.rows[-1][-1] += data


def read(shown):
    """Return the page that an object is as HTML."""
    found = Reader(shown._repr_html_())
    assert found.tags <= {"div", "strong", "table", "thead", "tr", "th", "td", "pre"}
    return found


def facts(shown):
    return dict(read(shown).rows)


def number(text):
    return int(text.replace(",", ""))


def test_words():
    shown = [None, 0, 1234567, np.int64(1000), 0.25, 1 / 3, np.float32(0.5), True, "a"]
    expected = ["-", "0", "1,234,567", "1,000", "0.25", "0.3333", "0.5", "True", "a"]
    assert [words(value) for value in shown] == expected


def test_tables_are_escaped():
    found = Reader(html_table(HOSTILE, [(HOSTILE, HOSTILE)], [HOSTILE, "b"]))
    assert found.rows == [[HOSTILE, "b"], [HOSTILE, HOSTILE]]
    assert HOSTILE in found.text
    assert "script" not in found.tags


@pytest.mark.parametrize(("count", "shown"), [(0, 0), (20, 20), (21, 21), (5000, 21)])
def test_long_tables_show_both_ends(count, shown):
    rows = Reader(html_table("t", [(i, 2 * i) for i in range(count)])).rows
    assert len(rows) == shown
    numbers = [number(first) for first, _ in rows if first != "..."]
    half = 10 if count > 20 else count
    assert numbers == [*range(half), *range(max(count - 10, half), count)]


@pytest.fixture(scope="module")
def data():
    return planted_graph(name=HOSTILE)


def test_graphs_show_their_counts(data, tmp_path):
    partitioned = data.partition(16, "hash")
    graph = daskgnn.open_graph(stored(data, tmp_path / "g.zarr", "hash"), num_parts=2)
    for shown in (data, partitioned, graph):
        found = facts(shown)
        assert number(found["nodes"]) == 400
        assert number(found["edges"]) == len(data.indices)
        assert number(found["features"]) == data.features.shape[1]
        assert HOSTILE in read(shown).text
        assert "\n" not in repr(shown)
        assert str(len(data.indices)) in repr(shown)
    for shown in (data, graph):
        found = facts(shown)
        sizes = [number(found[f"{name} nodes"]) for name in ("train", "val", "test")]
        assert sizes == [200, 100, 100]
        assert number(found["classes"]) == 4
    assert facts(partitioned)["clusters"] == facts(graph)["clusters"] == "16"
    assert facts(graph)["parts"] == "2"
    assert facts(graph)["path"] == str(tmp_path / "g.zarr")


@pytest.mark.parametrize("train", [None, [0, 1, 2]])
def test_the_quality_report_shows_its_figures(train):
    graph = planted_graph(train=train, val=None, test=None)
    quality = graph.partition(16, "hash").quality(num_parts=4)
    whole, parts = read(quality).rows[:4], read(quality).rows[4:]
    assert parts[0] == ["part", "nodes", "edges", "training", "halo"]
    seeds = ["-"] * 4 if train is None else [f"{n:,}" for n in quality.seeds]
    for p, cells in enumerate(parts[1:]):
        expected = [p, quality.nodes[p], quality.edges[p]]
        assert [number(cell) for cell in cells[:3]] == expected
        assert cells[3] == seeds[p]
        assert number(cells[4]) == quality.halo_nodes[p]
    assert float(dict(whole)["edge cut"]) == pytest.approx(quality.edge_cut, abs=1e-4)
    for line in whole:
        assert "  ".join([line[0].ljust(18), line[1]]) in str(quality).splitlines()
    assert repr(quality).startswith(f"Quality(4 parts, edge cut {quality.edge_cut:.4f}")
    assert len(repr(quality)) < 120


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    path = stored(planted_graph(), folder / "g.zarr")
    run = trainer(path, 2, None, out=folder / "run")
    return run, run.fit(3), folder / "run"


def lines(directory, event):
    """Return a run's records of a kind, as they are on the disk."""
    found = map(json.loads, (directory / "metrics.jsonl").read_text().splitlines())
    return [
        {name: value for name, value in record.items() if name != "event"}
        for record in found
        if record["event"] == event
    ]


def test_a_history_becomes_a_table_of_what_was_written(trained):
    _, history, directory = trained
    for event in ("epoch", "step"):
        expected = lines(directory, event)
        for found in (history, History.read(directory)):
            frame = found.to_pandas(f"{event}s")
            assert frame.index.name == event
            assert frame.reset_index().to_dict("records") == expected
    assert history.to_pandas().equals(history.to_pandas("epochs"))
    assert len(expected) == len(history.steps) > 3


def test_a_history_read_back_is_that_of_the_fit(trained):
    _, history, directory = trained
    assert History.read(str(directory)) == history


def test_a_history_is_short(trained):
    _, history, directory = trained
    epochs = lines(directory, "epoch")
    best = max(epochs, key=lambda record: record["val_accuracy"])
    assert repr(history) == str(history)
    assert repr(history) == (
        f"History(3 epochs, {len(history.steps)} steps, loss "
        f"{epochs[-1]['loss']:.4g}, best val_accuracy {best['val_accuracy']:.4g} in "
        f"epoch {best['epoch']})"
    )
    header, *rows = read(history).rows
    assert header == ["epoch", "loss", "val_accuracy", "seconds"]
    for row, record in zip(rows, epochs, strict=True):
        expected = [record[name] for name in header]
        assert [float(cell) for cell in row] == pytest.approx(expected, rel=1e-3)


def test_histories_of_any_length():
    assert repr(History()) == "History(0 epochs, 0 steps)"
    assert read(History()).rows == []
    assert History().to_pandas().empty
    first = {"step": 0, "epoch": 0, "loss": 0.5, "seconds": 1.0}
    assert repr(History([first])) == "History(0 epochs, 1 step, loss 0.5)"
    epochs = [{"epoch": i, "loss": 1.0, "seconds": 1.0} for i in range(3000)]
    epochs[7] |= {"val_accuracy": 0.25, "val_metric": 0.75}
    epochs[8] |= {"val_accuracy": 0.5, "val_metric": float("nan")}
    history = History(epochs=epochs)
    assert repr(history).endswith("best val_metric 0.75 in epoch 7)")
    assert repr(history).startswith("History(3,000 epochs, 0 steps, loss 1, ")
    assert len(history._repr_html_()) < 10_000
    assert history.to_pandas()["val_metric"].notna().sum() == 1


def test_a_history_knows_two_tables():
    with pytest.raises(InputError, match=r"'batches'.*'epochs' or 'steps'"):
        History().to_pandas("batches")


def test_a_trainer_says_what_it_trains(trained):
    run, history, directory = trained
    expected = "Trainer(GraphSAGE, 'planted' in 2 parts, num_neighbors=[4, 3], "
    assert repr(run) == f"{expected}batch_size=48, lr=0.01, 3 epochs done)"
    found = facts(run)
    parameters = sum(p.numel() for p in small_sage(planted_graph()).parameters())
    assert number(found["parameters"]) == parameters
    assert number(found["steps done"]) == len(history.steps)
    assert found["runs on"] == "this process"
    assert found["out"] == str(directory)


def test_a_profile_is_shown_as_its_table(trained):
    profile = trained[0].profile(steps=2)
    assert read(profile).text == profile.table()
    assert repr(profile).startswith("StepProfile(2 steps, ")


def test_a_chaos_report_tells_whether_bits_differ():
    counts = (3, 2, 2, 1, 1, 1, 75, 12, 1.5, (4.0, 9.0))
    same, other = ChaosReport("a", "a", *counts), ChaosReport("a", "b", *counts)
    assert repr(same) == "ChaosReport(equal, 3 workers and 1 schedulers killed)"
    assert repr(other).startswith("ChaosReport(NOT equal, ")
    told = {line[:14].strip(): line[15:] for line in str(other).splitlines()}
    assert (told["undisturbed"], told["disturbed"], told["equal"]) == ("a", "b", "NO")
    assert told["steps redone"] == "12 of 75"


@pytest.mark.parametrize("module", DOCUMENTED)
def test_examples_in_docstrings_run(module):
    failed, run = doctest.testmod(import_module(f"daskgnn.{module}"))
    assert run
    assert not failed
