"""A run over images, put together from its settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

from daskgnn.errors import InputError
from daskgnn.pipeline.cuts import check_stages
from daskgnn.train.options.visionoptions import RESULT
from daskgnn.train.persist.checkpoint import load_checkpoint
from daskgnn.train.persist.recorder import Recorder
from daskgnn.train.persist.storage import CHECKPOINTS
from daskgnn.train.watching import tell_page
from daskgnn.vision.csvlog import BatchLog
from daskgnn.vision.data.batches import Batches, BatchPlan, parse_changes
from daskgnn.vision.evaluation import Trained, score_split, total
from daskgnn.vision.feed import Feed
from daskgnn.vision.modelspec import ModelSpec
from daskgnn.vision.rates import Rates
from daskgnn.vision.recipes import model_options
from daskgnn.vision.rundir import check_same_run
from daskgnn.vision.staged import StagedModel, weights_in
from daskgnn.vision.trainer import Reached, VisionTrainer
from daskgnn.vision.watching import watchers_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from daskgnn.train.compute.state import Weights
    from daskgnn.train.persist.checkpoint import Checkpoint
    from daskgnn.train.persist.recorder import Progress
    from daskgnn.train.persist.storage import Storage
    from daskgnn.vision.data.images import ImageSet


PICTURE = "schedule.png"
"""In a run's directory, with ``--profile``: what each worker did when, in a step."""


def prepared(
    images: ImageSet, settings: Mapping[str, Any]
) -> tuple[ModelSpec, Batches, Rates]:
    """Return model, batches and learning rates of a run.

    Raises
    ------
    InputError
        If settings cannot be used, or do not fit the images.
    """
    channels, rows, _ = images.pixels.shape
    sizes = {"in_channels": channels, "num_classes": images.num_classes}
    sizes["image_size"] = rows
    spec = ModelSpec.of(settings["model"], {**sizes, **model_options(settings)})
    count = settings["copies"] * settings["micro_batches"]
    changes = parse_changes(settings["augment"])
    cut = settings["batch_size"], count, settings["seed"], changes
    batches = Batches(images, BatchPlan(images.splits["train"], *cut))
    _check_norm(settings, batches.plan)
    check_stages(settings["stages"], spec.num_layers())
    rates = Rates.of(
        settings["lr"],
        settings["lr_decay"],
        settings["warmup_steps"],
        batches.plan.steps_per_epoch,
        settings["epochs"],
    )
    return spec, batches, rates


def _check_norm(settings: Mapping[str, Any], plan: BatchPlan) -> None:
    """Refuse micro-batches of one image where their rows are normalised together."""
    # The head of these models normalises a row an image; the pixel model has no norm
    # there.
    together = settings["norm"] == "batch" and settings["model"] != "pixel-vig"
    if together and plan.smallest // plan.micro_batches < 2:
        raise InputError(
            f"a batch of {plan.smallest} images in {plan.micro_batches} micro-batches "
            "leaves one image, which norm='batch' cannot normalise: give norm='group', "
            "another batch_size=, or fewer micro_batches= or copies="
        )


def run_to_end(
    settings: dict[str, Any],
    images: ImageSet,
    client: Any,
    progress: Progress,
    checkpoint: Checkpoint | None,
    *,
    profile: bool = False,
) -> dict[str, Any]:
    """Train from a checkpoint or the begin, write and return the summary.

    With `profile`, a picture of a step is drawn.
    """
    tell_page(client, progress)
    trainer = _trainer(settings, images, client, progress, checkpoint)
    recorder = trainer.recorder
    try:
        _tell_start(trainer, settings["epochs"])
        with recorder.written():
            trainer.fit()
        summary = _summary(trainer, settings, images)
        if profile and trainer.spans:
            summary |= _profile(trainer, settings["schedule"])
        recorder.summary(summary)
    finally:
        trainer.close()
    return summary


def _trainer(
    settings: dict[str, Any],
    images: ImageSet,
    client: Any,
    progress: Progress,
    checkpoint: Checkpoint | None,
) -> VisionTrainer:
    spec, batches, rates = prepared(images, settings)
    keep = settings["keep_checkpoints"]
    staged = StagedModel(spec, settings, client)
    watchers = watchers_of(settings, staged, progress)
    recorder = Recorder(settings["out"], watchers, keep, "daskgnn vision train")
    facts = {"images": images.fingerprint, **{n: settings[n] for n in RESULT}}
    reached, resumed = Reached(), None
    if checkpoint is not None:
        check_same_run(checkpoint, facts)
        reached = Reached(**checkpoint.facts["reached"])
        resumed = reached.epoch, reached.step
        staged.restore(checkpoint)
    name = settings["filename"]
    return VisionTrainer(
        staged,
        Feed(batches, client, uuid4().hex[:8]),
        rates,
        spec,
        recorder,
        settings["epochs"],
        None if name is None else BatchLog(name, resumed),
        facts,
        settings["checkpoint_every"],
        reached,
        watchers,
    )


def _tell_start(trainer: VisionTrainer, epochs: int) -> None:
    """Tell the progress how much there is to do."""
    plan, recorder = trainer.feed.batches.plan, trainer.recorder
    client = trainer.feed.client
    recorder.progress.started(
        {
            "total_steps": epochs * plan.steps_per_epoch,
            "first_step": trainer.reached.steps,
            "epochs": epochs,
            "steps_per_epoch": plan.steps_per_epoch,
            "first_seeds": trainer.reached.total_images,
            "out": recorder.place,
            "dashboard": None if client is None else client.dashboard_link,
        }
    )
    if trainer.reached.steps:
        recorder.begin(None, trainer.reached.steps)
    if plan.remainder:
        recorder.event(
            "unequal_micro_batches",
            batch_size=plan.batch_size,
            micro_batches=plan.micro_batches,
        )


def _summary(
    trainer: VisionTrainer, settings: Mapping[str, Any], images: ImageSet
) -> dict[str, Any]:
    """Return what ``summary.json`` holds, with scores of the best parameters."""
    client = trainer.feed.client
    workers = 0 if client is None else len(client.scheduler_info(-1)["workers"])
    told = ("model", "stages", "copies", "micro_batches", "schedule", "form", "seed")
    found = {
        "dataset": images.name,
        "num_images": len(images.splits["train"]),
        "image_shape": list(images.pixels.shape),
        "num_classes": images.num_classes,
        "skipped_images": len(images.skipped),
        "num_workers": workers,
        **{name: settings[name] for name in told},
        "cut": trainer.staged.cut_lines,
        **trainer.summary(),
    }
    storage = trainer.recorder.storage
    assert storage is not None
    weights = best_weights(storage.inside(CHECKPOINTS), trainer.checkpoint())
    trained = Trained(trainer.spec, weights, settings["threads"])
    for split in ("val", "test"):
        if split in images.splits:
            scores = total(score_split(trained, images, split, client))
            found |= scores.of(split)
    return found


def _profile(trainer: VisionTrainer, schedule: str) -> dict[str, Any]:
    """Draw the last step of a whole batch; return what the summary tells of it."""
    from daskgnn.pipeline.gantt import bubble_share, draw_schedule

    storage, spans = trainer.recorder.storage, trainer.spans
    assert storage is not None
    assert spans is not None
    storage.write(
        PICTURE, draw_schedule(spans, schedule, trainer.staged.cut_lines).to_png()
    )
    return {"schedule_picture": PICTURE, "bubble_share": round(bubble_share(spans), 4)}


def best_weights(folder: Storage, newest: Checkpoint) -> Weights:
    """Return the weights of the best epoch; the newest of a run without validation.

    Parameters
    ----------
    folder
        Of the run's checkpoints.
    newest
        The newest of them.
    """
    best = newest.facts["best_step"]
    if best is None or best == newest.step:
        return weights_in(newest)
    return weights_in(load_checkpoint(folder.path_of(f"step-{best:08d}")))
