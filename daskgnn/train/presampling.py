"""Sample before training, where a run's sampler does so; keep what was counted."""

from __future__ import annotations

import hashlib
import io
import json
import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.dataflow.presampling import presample, send_counts
from daskgnn.sampling.presampling import PresampledSampler
from daskgnn.train.deployment import new_name

if TYPE_CHECKING:
    from daskgnn.train.deployment import Deployment
    from daskgnn.train.persist.storage import Storage
    from daskgnn.train.trainer import Trainer

FOLDER, FACTS = "presampling", "facts.json"
"""In a run's directory: a file of counts a part, and at last what they are of."""


def ensure_presampled(trainer: Trainer) -> None:
    """Have a trainer's sampler know how often nodes and edges are drawn.

    Other samplers are left as they are. Counts that the run has stored are read; else
    they are made, the same ones, and stored if the run has a directory.

    Raises
    ------
    InputError
        If training nodes are drawn too rarely.
    """
    deployment = trainer.deployment
    sampler = deployment.sampler
    if not isinstance(sampler, PresampledSampler):
        return
    if not deployment.is_counted:
        began, storage = time.monotonic(), trainer.recorder.storage
        name = _name_of(deployment, sampler)
        keys = None
        if storage is not None:
            sampler, keys = _stored(storage, name, deployment, sampler)
        if keys is None:
            sampler, keys = _made(trainer, sampler)
            if storage is not None:
                _store(storage, name, deployment, sampler, keys)
            took = round(time.monotonic() - began, 3)
            facts = {"steps": sampler.done.steps, "drawn": sampler.done.drawn}
            trainer.recorder.event("presampled", **facts, seconds=took)
        deployment.use_counts(sampler, keys)
    trainer.plan = replace(trainer.plan, chosen=sampler.plan)


def _made(
    trainer: Trainer, sampler: PresampledSampler
) -> tuple[PresampledSampler, list[Any]]:
    """Sample; return the sampler that knows how much, and keys of the counts."""
    deployment = trainer.deployment
    wanted = round(sampler.coverage * sampler.num_train)

    def tell(now: PresampledSampler) -> None:
        record = {"event": "presampling", "drawn": now.done.drawn, "of": wanted}
        trainer.recorder.progress.event(record)

    # A name of its own for each attempt: nothing is taken for what was lost.
    plan = replace(deployment.preparation, run=new_name())
    return presample(deployment.executor, plan, int(deployment.options["seed"]), tell)


def _name_of(deployment: Deployment, sampler: PresampledSampler) -> str:
    """Return what identifies the counts of a run."""
    seed = deployment.options["seed"]
    known = [sampler.fingerprint(), sampler.num_subgraphs, deployment.graph.token, seed]
    return hashlib.sha256(json.dumps(known, default=str).encode()).hexdigest()


def _store(
    storage: Storage,
    name: str,
    deployment: Deployment,
    sampler: PresampledSampler,
    keys: list[Any],
) -> None:
    """Write the counts, part after part."""
    done = sampler.done
    facts = {"name": name, "steps": done.steps, "drawn": done.drawn}
    with storage.new_folder(FOLDER) as opened:
        for part, key in enumerate(keys):
            (counts,) = deployment.executor.result([key])
            content = io.BytesIO()
            np.savez_compressed(content, **counts)
            with opened(_file(part)) as file:
                file.write(content.getvalue())
        with opened(FACTS) as file:
            file.write(json.dumps(facts).encode())


def _stored(
    storage: Storage, name: str, deployment: Deployment, sampler: PresampledSampler
) -> tuple[PresampledSampler, list[Any] | None]:
    """Return the sampler and keys of counts that are stored, or None for them."""
    with suppress(OSError, ValueError, KeyError):
        folder = storage.inside(FOLDER)
        facts = json.loads(folder.read(FACTS))
        if facts["name"] != name:
            return sampler, None
        counts = []
        for part in range(deployment.graph.num_parts):
            with np.load(io.BytesIO(folder.read(_file(part)))) as found:
                counts.append({key: found[key] for key in found.files})
        sampler = sampler.presampled(int(facts["steps"]), int(facts["drawn"]))
        return sampler, send_counts(deployment.executor, counts, new_name())
    return sampler, None


def _file(part: int) -> str:
    return f"part-{part}.npz"
