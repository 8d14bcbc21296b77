"""A run in one JSON object, in one line, and as a notebook shows it."""

from __future__ import annotations

import os
import platform
import time
from html import escape
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import torch

from daskgnn.display import html_table
from daskgnn.tasks.task import reduction_of
from daskgnn.train.compute.state import hash_parameters
from daskgnn.train.options.samplers import text_of
from daskgnn.train.renewal import exact_scores
from daskgnn.version import __version__

if TYPE_CHECKING:
    from daskgnn.train.results import TrainResults
    from daskgnn.train.trainer import Trainer


def summarize(trainer: TrainResults) -> dict[str, Any]:
    """Return what ``summary.json`` holds, scores of the best parameters among it."""
    graph, run_state = trainer.graph, trainer.run_state
    total, parameters = run_state.total, run_state.state.parameters
    known, metric = trainer.deployment, trainer.task.metric(graph)
    splits = [s for s in ("val", "test") if known.targets.has(s)]
    began = time.perf_counter()
    scores = exact_scores(trainer, splits) if splits else {}
    evaluated = total.eval_seconds + time.perf_counter() - began
    out: dict[str, Any] = {
        "dataset": graph.name,
        "num_nodes": graph.num_nodes,
        "num_edges": graph.num_edges,
        "num_parts": graph.num_parts,
        "num_workers": trainer.executor.num_workers(),
        "seed": trainer.options["seed"],
        "window": trainer.window,
        "advice": None if trainer.advice is None else str(trainer.advice),
        "epochs": run_state.position.epoch,
        "stopped_early": run_state.stopped,
        "steps": run_state.state.step,
        "steps_form": run_state.main_form,
        "train_loss": run_state.last_loss,
        "loss_reduction": reduction_of(trainer.task),
        "sparse_features": trainer.options["sparse_features"],
        "precision": trainer.options["precision"],
        "warmup_steps": trainer.options["warmup_steps"],
        "ramp_steps": trainer.program.gradients.ramp_steps,
        "metric": metric,
        **({"class_names": list(graph.class_names)} if graph.class_names else {}),
        "best_epoch": run_state.best and run_state.best.epoch,
        "params_sha256": hash_parameters(parameters),
        "num_parameters": len(parameters),
        "seconds": round(total.seconds, 3),
        "eval_seconds": round(evaluated, 3),
        "start_seconds": round(run_state.clock.start, 3),
        "wall_seconds": round(run_state.clock.wall, 3),
        "seeds_per_second": total.seconds and round(total.seeds / total.seconds, 1),
        **total.traffic(),
    }
    out["environment"] = environment()
    for split in ("val", "test"):
        found = scores.get(split, {})
        if split not in scores or "accuracy" in found:
            out[f"{split}_accuracy"] = found.get("accuracy")
        if metric != "accuracy":
            out[f"{split}_metric"] = found.get(metric)
        out.update(further_scores(split, found))
    return out


def environment() -> dict[str, str]:
    """Return the versions and the machine that the driver runs with."""
    return {
        "daskgnn": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "dask", "distributed", "numpy")},
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
    }


def further_scores(split: str, scores: dict[str, Any]) -> dict[str, float]:
    """Return what a task scores beyond accuracy, loss and counts, by its own name."""
    known = {"accuracy", "loss", "num_nodes", "num_targets"}
    return {f"{split}_{name}": v for name, v in scores.items() if name not in known}


def one_line(trainer: Trainer) -> str:
    """Return what is trained on what, and how far it has come."""
    graph, epochs = trainer.graph, trainer.run_state.position.epoch
    drawn = ", ".join(f"{name}={value}" for name, value in _drawn(trainer).items())
    return (
        f"Trainer({type(trainer.model).__name__}, {graph.name!r} in {graph.num_parts} "
        f"parts, {drawn}, {epochs} epochs done)"
    )


def as_table(trainer: Trainer) -> str:
    """Return a table of the same and more, as HTML."""
    run_state, workers = trainer.run_state, trainer.executor.num_workers()
    facts = {
        "model": type(trainer.model).__name__,
        "parameters": len(run_state.state.parameters),
        "graph": trainer.graph.name,
        "parts": trainer.graph.num_parts,
        "runs on": f"{workers} workers" if workers else "this process",
        **_drawn(trainer),
        "epochs done": run_state.position.epoch,
        "steps done": run_state.state.step,
        "best epoch": run_state.best and run_state.best.epoch,
        "out": trainer.recorder.place,
    }
    table, page = html_table("Trainer", facts.items()), trainer.executor.page()
    link = f'<a href="{escape(page)}" target="_blank">live page</a>' if page else ""
    return f"{table}{link}"


def _drawn(trainer: Trainer) -> dict[str, Any]:
    """Return how minibatches are drawn."""
    options, sampler = trainer.options, trainer.options["sampler"]
    drawn: dict[str, Any] = {"num_neighbors": options["num_neighbors"]}
    if sampler is not None:
        named = sampler if isinstance(sampler, str) else text_of(sampler)
        drawn = {"sampler": named or type(sampler).__name__}
    rate = trainer.run_state.schedule.options()[0].get("lr")
    return {**drawn, "batch_size": options["batch_size"], "lr": rate}
