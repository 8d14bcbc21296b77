"""A run's records, read back from its directory, and the figure of them."""

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread
from training import mostly_slow

from daskgnn import History, InputError


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
