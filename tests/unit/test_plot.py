"""A run's records, read back from its directory, and the figure of them."""

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread
from training import inside, invoked, mostly_slow, trainer

from daskgnn import History, InputError
from daskgnn.plot import draw_runs


def write(path: Path, records: list[dict]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def run(epochs: int, steps: int) -> list[dict]:
    records = []
    for epoch in range(epochs):
        for step in range(steps):
            number = epoch * steps + step
            records.append(
                {
                    "event": "step",
                    "step": number,
                    "epoch": epoch,
                    "loss": 2.0 / (number + 1),
                }
            )
        records.append(
            {
                "event": "epoch",
                "epoch": epoch,
                "loss": 2.0 / (epoch + 1),
                "val_accuracy": 1 - 0.5 / (epoch + 1),
            }
        )
    return records


LENGTHS = [(0, 0), (0, 3), (1, 1), (50, 2)]


@pytest.mark.parametrize(("epochs", "steps"), mostly_slow(LENGTHS, (50, 2)))
def test_draws_runs_of_any_length(tmp_path: Path, epochs: int, steps: int) -> None:
    records = run(max(epochs, 1), steps)
    if not epochs:
        records = [r for r in records if r["event"] == "step"]
    write(tmp_path / "metrics.jsonl", records)
    picture = History.read(tmp_path).plot().to_png()
    image = imread(BytesIO(picture))
    assert image.shape[1] > image.shape[0]
    assert len(np.unique(image[..., :3].reshape(-1, 3), axis=0)) > 3


def lines_of(axes: Any) -> dict[str, list[float]]:
    """Return what is drawn, by the label of each line."""
    return {line.get_label(): list(line.get_ydata()) for line in axes.get_lines()}


def test_draws_the_losses_and_scores_of_the_records(tmp_path: Path) -> None:
    records = run(3, 2)
    write(tmp_path / "metrics.jsonl", records)
    loss, score = History.read(tmp_path).plot().axes
    steps = [r["loss"] for r in records if r["event"] == "step"]
    epochs = [r for r in records if r["event"] == "epoch"]
    assert lines_of(loss) == {"step": steps, "epoch": [r["loss"] for r in epochs]}
    drawn = lines_of(score)
    best = epochs[-1]["val_accuracy"]
    assert drawn["validation"] == [r["val_accuracy"] for r in epochs]
    assert drawn[f"best: {best:.4f} after 3"] == [best]


def test_a_notebook_shows_the_picture() -> None:
    figure = History().plot()
    assert imread(BytesIO(figure._repr_png_())).ndim == 3


def test_leaves_out_a_torn_line_and_what_is_no_number(tmp_path: Path) -> None:
    metrics = write(tmp_path / "metrics.jsonl", run(2, 2))
    with metrics.open("a") as file:
        file.write('{"event": "epoch", "epoch": 2, "loss": NaN, "val_accuracy": NaN}\n')
        file.write(
            '{"event": "epoch", "epoch": 3, "loss": 1.0, "val_accuracy": null}\n'
        )
        file.write('{"event": "st')
    history = History.read(tmp_path)
    assert [r["epoch"] for r in history.epochs] == [0, 1, 2, 3]
    assert lines_of(history.plot().axes[1])["validation"] == [0.5, 0.75]


def test_the_last_record_of_a_step_counts(tmp_path: Path) -> None:
    records = [
        {"event": "step", "step": 1, "epoch": 0, "loss": 3.0},
        {"event": "step", "step": 2, "epoch": 0, "loss": 2.0},
        {"event": "resume", "step": 1},
        {"event": "step", "step": 2, "epoch": 0, "loss": 1.0},
    ]
    write(tmp_path / "metrics.jsonl", records)
    found = History.read(tmp_path)
    assert [r["loss"] for r in found.steps] == [3.0, 1.0]
    # The same without a file, where a run went on in this process.
    again = History([{k: v for k, v in r.items() if k != "event"} for r in records[:2]])
    again.steps.append(found.steps[-1])
    assert lines_of(again.plot().axes[0]) == {"step": [3.0, 1.0]}


def test_a_directory_without_a_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"metrics\.jsonl") as error:
        History.read(tmp_path / "nowhere")
    assert str(tmp_path / "nowhere") in str(error.value)


def test_draws_several_runs_over_time(tmp_path: Path) -> None:
    """Throughput and memory of those that recorded them, and latency of all."""
    for name, pace in (("slow", 0.2), ("fast", 0.1), ("old", 0.1)):
        records = run(3, 4)
        for record in records:
            steps = 4 if record["event"] == "epoch" else 1
            record["seconds"] = steps * pace
            if steps == 4 and name != "old":
                record |= {"seeds": 400, "worker_bytes": 3e8}
        (tmp_path / name).mkdir()
        write(tmp_path / name / "metrics.jsonl", records)
    runs = {name: History.read(tmp_path / name) for name in ("slow", "fast", "old")}
    figure = draw_runs({name: (r.steps, r.epochs) for name, r in runs.items()})
    throughput, memory, latency = map(lines_of, figure.axes[2:])
    assert throughput == {
        "slow": pytest.approx([500.0] * 3),
        "fast": pytest.approx([1000.0] * 3),
    }
    assert memory == {"slow": [300.0] * 3, "fast": [300.0] * 3}
    assert latency["old"] == latency["fast"] == pytest.approx([100.0] * 3)
    ends = figure.axes[-1].get_lines()[0].get_xdata()
    assert list(ends) == pytest.approx([0.8, 1.6, 2.4])
    out = tmp_path / "runs.png"
    inside("plot", str(tmp_path / "slow"), str(tmp_path / "fast"), f"--out={out}")
    assert imread(out).ndim == 3


def test_plot_names_what_is_no_run(tmp_path: Path) -> None:
    for words, match in (
        ([str(tmp_path)], "holds no metrics.jsonl"),
        ([str(tmp_path), "--out=x.txt"], "ends in .png"),
        ([str(tmp_path), f"--out={tmp_path}/no/x.png"], "does not exist"),
    ):
        done = invoked("plot", *words)
        assert done.returncode == 2
        assert match in done.stderr


def test_a_run_records_what_is_drawn(path: str, tmp_path: Path) -> None:
    done = trainer(path, 1, None, out=tmp_path / "run")
    epoch = done.fit(1).epochs[0]
    assert epoch["seeds"] == 200
    assert epoch["worker_bytes"] > 1e7
