"""Settings of a run over images: ``daskgnn vision train``."""

from dataclasses import replace
from typing import Annotated, Any, Literal, TypedDict

from daskgnn.train.options.option import Option, declared
from daskgnn.train.options.options import RUN
from daskgnn.train.options.plainoptions import MODEL, TRAINING

IMAGES = "Images"
PIPELINE = "Pipeline"


class VisionOptions(TypedDict, total=False):
    """Those that runs over graphs do not have."""

    data: Annotated[str, Option(group=IMAGES, flag=False)]
    """A set's name (digits, fashion-mnist, cifar10), or the path of a folder."""
    image_size: Annotated[int | None, Option(least=1, shown="224")]
    """Height and width in pixels that a folder's image files are scaled and cut to."""
    augment: Annotated[
        str | None, Option(metavar="CHANGES", shown="the set's recipe, or none")
    ]
    """What is done to images in training: none, or shift:PIXELS, flip, erase:PIXELS.

    Several are joined by commas, as in shift:2,flip. What happens to an image is a hash
    of the seed, the epoch and the image, so results do not depend on workers.
    """
    validation: Annotated[float, Option(0.1, least=0, below=1)]
    """Share of the training images that are held out if a set has no validation
    images."""
    damaged: Annotated[Literal["refuse", "skip"], Option("refuse")]
    """What to do about image files that cannot be read: stop, or leave them out.

    "skip" reads all files before the first step.
    """
    model: Annotated[
        Literal[
            "vig-mini",
            "vig-ti",
            "vig-s",
            "vig-b",
            "pvig-ti",
            "pvig-s",
            "pvig-m",
            "pvig-b",
            "pixel-vig",
        ],
        Option("vig-ti", group=MODEL, shown="the set's recipe, or vig-ti"),
    ]
    """The model: isotropic (vig) or pyramid (pvig) of Han et al. (2022)."""
    channels: Annotated[int | None, Option(least=4, shown="the model's")]
    """Channels of a node of an isotropic model."""
    depth: Annotated[int | None, Option(least=1, shown="the model's")]
    """Number of blocks of an isotropic model."""
    k: Annotated[int | None, Option(least=1, shown="the model's")]
    """Nearest neighbours of a node, in the first block."""
    stride: Annotated[
        int | None, Option(least=1, shown="such that 7 x 7 nodes are left")
    ]
    """Height and width in pixels of a node of an isotropic model, a power of 2."""
    norm: Annotated[Literal["batch", "group"], Option("batch")]
    """Normalisation: over the rows of a micro-batch, or of each image.

    With "batch", results depend on the size of micro-batches.
    """
    drop_path: Annotated[float, Option(0.0, least=0, below=1)]
    """Probability of dropping the last block for an image; it grows over the blocks."""
    dropout: Annotated[float, Option(0.0, least=0, below=1)]
    """Probability of dropping a channel before the last linear map."""
    lr: Annotated[float, Option(0.002, group=TRAINING, above=0)]
    """Largest learning rate."""
    lr_decay: Annotated[Literal["cosine", "none"], Option("cosine")]
    """How the learning rate falls until the last epoch.

    With "cosine", a resumed run keeps the number of epochs.
    """
    label_smoothing: Annotated[float, Option(0.0, least=0, below=1)]
    """Share of each label that is spread over all classes."""
    stages: Annotated[int, Option(1, group=PIPELINE, least=1)]
    """Stages that the model's layers are cut into; 1 is the sequential run."""
    copies: Annotated[int, Option(1, least=1)]
    """Copies of the model, which train on shares of each batch."""
    micro_batches: Annotated[int, Option(4, least=1)]
    """Micro-batches that each copy's share of a batch is cut into."""
    schedule: Annotated[
        Literal["gpipe", "1f1b", "interleaved", "zero-bubble"], Option("1f1b")
    ]
    """Order of the forward and backward passes of micro-batches; results are equal."""
    balance: Annotated[Literal["time", "parameters"], Option("time")]
    """What is divided equally among the stages.

    "time" measures each layer first; results do not depend on where a model is cut.
    """
    boundary: Annotated[Literal["float32", "bf16"], Option("float32")]
    """What activations and their gradients are rounded to between stages.

    With "bf16", results depend on where a model is cut, so `balance` must be
    "parameters".
    """
    form: Annotated[Literal["auto", "workers", "operations"], Option("auto")]
    """Run each operation of a step as a task, or all of a worker's step as one.

    Results are identical. "auto" is one task a worker.
    """
    recompute: Annotated[bool, Option(False)]
    """Compute activations again for the backward pass, to save memory."""
    threads: Annotated[int, Option(1, least=1)]
    """Threads that compute an operation. Rounding depends on it."""
    filename: Annotated[str | None, Option(group="Files and checkpoints", kind="path")]
    """CSV log of batches: epoch, batch, seconds, loss, and phase (0 train, 1 val)."""


_OF_GRAPHS: dict[str, dict[str, Any]] = {
    "data_dir": {},
    "epochs": {"default": 10, "help": "Epochs to train."},
    "batch_size": {"default": 128, "help": "Images per step, over all copies."},
    "optimizer": {
        "default": "adamw",
        "help": "A name in torch.optim, for instance adamw or sgd.",
    },
    "weight_decay": {"default": 0.05, "help": "Weight decay."},
    "warmup_steps": {
        "default": None,
        "help": "Steps over which the learning rate rises, in equal parts.",
        "shown": "half an epoch, 500 at most",
    },
    "seed": {
        "help": "Seed of weights, shuffling, augmentation and dropout.",
    },
    "workers": {
        "none": "",
        "help": "Start a local cluster of N workers; 0 = no cluster.",
        "shown": "as many as stages of all copies, 8 at most",
    },
    "memory_limit": {},
    "scheduler": {},
    "tls": {},
    "tls_ca_file": {},
    "tls_cert": {},
    "tls_key": {},
    "out": {"shown": "runs/DATA"},
    "checkpoint_every": {},
    "keep_checkpoints": {},
}
"""Settings that runs over graphs have as well, and what differs."""


def _changed(option: Option, changes: dict[str, Any]) -> Option:
    """Return an option with other words; its notes are about graphs."""
    return replace(option, **{"notes": "", **changes}) if changes else option


VISION: dict[str, Option] = declared(VisionOptions) | {
    name: _changed(RUN[name], changes) for name, changes in _OF_GRAPHS.items()
}
"""What a run over images can be given."""

RESULT = (
    *("data", "image_size", "augment", "validation", "damaged", "model", "channels"),
    *("depth", "k", "stride", "norm", "drop_path", "dropout", "lr", "lr_decay"),
    *("label_smoothing", "copies", "micro_batches", "threads", "boundary"),
    *("batch_size", "optimizer", "weight_decay", "warmup_steps", "seed"),
)
"""Settings that decide a run's result."""
