"""The figure of a run."""

import json
from pathlib import Path

import numpy as np
import pytest

from daskgnn.plot import newest, plot_curves, read_records


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


@pytest.mark.parametrize(("epochs", "steps"), [(0, 0), (0, 3), (1, 1), (50, 2)])
def test_draws_runs_of_any_length(tmp_path: Path, epochs: int, steps: int) -> None:
    from matplotlib.image import imread

    metrics = write(tmp_path / "metrics.jsonl", run(max(epochs, 1), steps))
    if not epochs:
        write(metrics, [r for r in run(1, steps) if r["event"] == "step"])
    out = plot_curves(metrics, tmp_path / "curves.png")
    image = imread(out)
    assert image.shape[1] > image.shape[0]
    assert len(np.unique(image[..., :3].reshape(-1, 3), axis=0)) > 3


def test_leaves_out_a_torn_line_and_what_is_no_number(tmp_path: Path) -> None:
    metrics = write(tmp_path / "metrics.jsonl", run(2, 2))
    with metrics.open("a") as file:
        file.write('{"event": "epoch", "epoch": 2, "loss": NaN, "val_accuracy": NaN}\n')
        file.write(
            '{"event": "epoch", "epoch": 3, "loss": 1.0, "val_accuracy": null}\n'
        )
        file.write('{"event": "st')
    assert [r["epoch"] for r in newest(read_records(metrics), "epoch")] == [0, 1, 2, 3]
    assert plot_curves(metrics, tmp_path / "curves.png").stat().st_size > 1000


def test_the_last_record_of_a_step_counts() -> None:
    records = [
        {"event": "step", "step": 1, "loss": 3.0},
        {"event": "step", "step": 2, "loss": 2.0},
        {"event": "resume", "step": 1},
        {"event": "step", "step": 2, "loss": 1.0},
    ]
    assert [r["loss"] for r in newest(records, "step")] == [3.0, 1.0]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"metrics\.jsonl"):
        plot_curves(tmp_path / "metrics.jsonl", tmp_path / "curves.png")
