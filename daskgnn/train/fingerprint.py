"""The settings that a checkpoint and a resumed run must have in common."""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from daskgnn.errors import CheckpointError
from daskgnn.train.compute.gradients import SYNCHRONOUS
from daskgnn.train.options.options import TRAINER

if TYPE_CHECKING:
    from collections.abc import Mapping

    from daskgnn.train.compute.schedule import Schedule
    from daskgnn.train.deployment import Deployment


def fingerprint(deployment: Deployment, schedule: Schedule) -> dict[str, Any]:
    """Return the facts that decide a run's result, as checkpoints hold them."""
    graph, model, given = deployment.graph, deployment.model, {**deployment.options}
    return {
        "graph_hash": graph.graph_hash,
        "num_parts": graph.num_parts,
        "model": repr(model),
        "parameters": [
            f"{name} {list(p.shape)}" for name, p in model.named_parameters()
        ],
        "gradients": deployment.program.gradients.fingerprint(),
        "optimizer": schedule.describe(),
        **{name: given[name] for name, o in TRAINER.items() if o.fact is True},
        **deployment.sampler.fingerprint(),
        **deployment.targets.task.fingerprint(),
    }


def check_same(theirs: Mapping[str, Any], mine: Mapping[str, Any], step: int) -> None:
    """Compare a checkpoint's facts with a run's; those that it lacks are older.

    Raises
    ------
    CheckpointError
        Naming the first that differs.
    """
    for name, now in mine.items():
        was = theirs.get(name, _before(name, now))
        if name == "gradients":
            was = SYNCHRONOUS.fingerprint() | was
        if was != now:
            told = difference(was, now)
            raise CheckpointError(
                f"the checkpoint of step {step} was written with {name}={told[0]}, "
                f"this run has {name}={told[1]}"
            )


def _before(name: str, now: Any) -> Any:
    """Return what a fact stood at before there was its option."""
    if name == "gradients":
        return {}
    option = TRAINER.get(name)
    if option is None or option.fact is not True:
        return now
    return option.default if option.before is None else option.before


def difference(theirs: Any, mine: Any) -> tuple[Any, Any]:
    """Return two values, or of long ones the lines or entries that differ."""
    if isinstance(theirs, str) and isinstance(mine, str):
        pairs = zip_longest(theirs.splitlines(), mine.splitlines(), fillvalue="")
        was, now = next(pair for pair in pairs if pair[0] != pair[1])
        return was.strip(), now.strip()
    if isinstance(theirs, dict) and isinstance(mine, dict):
        names = [n for n in (theirs | mine) if theirs.get(n) != mine.get(n)]
        return {n: theirs.get(n) for n in names}, {n: mine.get(n) for n in names}
    if isinstance(theirs, list) and isinstance(mine, list) and len(mine) > 8:
        return next(pair for pair in zip_longest(theirs, mine) if pair[0] != pair[1])
    return theirs, mine
