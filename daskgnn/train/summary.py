"""A run in one JSON object."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from daskgnn.train.compute.state import hash_parameters

if TYPE_CHECKING:
    from daskgnn.graph.graph import Graph
    from daskgnn.train.runstate import RunState


def summarize(
    graph: Graph,
    metric: str,
    run_state: RunState,
    scores: dict[str, dict[str, Any]],
    facts: dict[str, Any],
) -> dict[str, Any]:
    """Return what ``summary.json`` holds.

    Parameters
    ----------
    scores : dict
        Of the validation and test split, with the best parameters.
    facts : dict
        What the trainer knows besides: workers, seed, window.
    """
    total, parameters = run_state.total, run_state.state.parameters
    out: dict[str, Any] = {
        "dataset": graph.name,
        "num_nodes": graph.num_nodes,
        "num_edges": graph.num_edges,
        "num_parts": graph.num_parts,
        **facts,
        "epochs": run_state.position.epoch,
        "steps": run_state.state.step,
        "steps_form": run_state.main_form,
        "train_loss": run_state.last_loss,
        "metric": metric,
        "best_epoch": run_state.best and run_state.best.epoch,
        "params_sha256": hash_parameters(parameters),
        "num_parameters": len(parameters),
        "seconds": round(total.seconds, 3),
        "seeds_per_second": total.seconds and round(total.seeds / total.seconds, 1),
        **total.traffic(),
    }
    for split in ("val", "test"):
        found = scores.get(split, {})
        if split not in scores or "accuracy" in found:
            out[f"{split}_accuracy"] = found.get("accuracy")
        if metric != "accuracy":
            out[f"{split}_metric"] = found.get(metric)
        out.update(further_scores(split, found, metric))
    return out


def further_scores(split: str, scores: dict[str, Any], metric: str) -> dict[str, float]:
    """Return what a task scores beyond accuracy, loss, counts and its metric.

    The metric of a task without accuracy is among them, under its own name.
    """
    known = {"accuracy", "loss", "num_nodes", "num_targets"}
    if "accuracy" in scores:
        known.add(metric)
    return {f"{split}_{name}": v for name, v in scores.items() if name not in known}
