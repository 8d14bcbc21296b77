"""Settings with plain values: of a trainer, and of a run in a directory."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypedDict

from daskgnn.train.options.option import Option, cache_bytes, fan_outs, fewest_and_most

if TYPE_CHECKING:
    from daskgnn.train.options.option import OptimizerFactory

GRAPH = "Graph"
MODEL = "Model"
SAMPLING = "Sampling"
TRAINING = "Training"
GRADIENTS = "Gradients"
STEPS = "Steps and memory"
CLUSTER = "Cluster"
FILES = "Files and checkpoints"
GROUPS = (GRAPH, MODEL, SAMPLING, TRAINING, GRADIENTS, STEPS, CLUSTER, FILES)
"""The headings, in their order."""


class PlainOptions(TypedDict, total=False):
    """Options of both a trainer and a run."""

    normalize_features: Annotated[bool, Option(False, group=GRAPH, fact=True)]
    """Divide each node's features by their sum."""
    feature_dtype: Annotated[
        Literal["float32", "float16", "bfloat16"] | None,
        Option(shown="as stored", fact=True, before="float32"),
    ]
    """What workers hold dense features as.

    They are sent as that, too; None is as they are stored. Sums over them are of
    float32 whatever it is.
    """
    num_neighbors: Annotated[
        Sequence[int] | None,
        Option(group=SAMPLING, check=fan_outs, fact="num_neighbors"),
    ]
    """Neighbours sampled at each hop, hop 1 first; -1 = all."""
    sample_by: Annotated[
        Literal["uniform", "edge_weight", "degree"], Option("uniform", fact=True)
    ]
    """What a neighbour's chance to be sampled follows.

    Draw uniformly, or in proportion to edge weights or degrees.
    """
    batch_size: Annotated[int, Option(1024, group=TRAINING, least=1, fact=True)]
    """Seeds a step, over all parts."""
    optimizer: Annotated[
        "str | OptimizerFactory",
        Option("adam", kind="name", type_name="str or callable", fact="optimizer"),
    ]
    """A name in torch.optim, for instance adam, adamw or sgd.

    In Python also a function from a list of parameters to an optimizer that needs no
    closure and no sparse gradients.
    """
    lr: Annotated[float, Option(0.01, least=0, fact="optimizer")]
    """Learning rate.

    Given to `optimizer` if that is a name.
    """
    weight_decay: Annotated[float, Option(0.0, least=0, fact="optimizer")]
    """Weight decay.

    Given to `optimizer` if that is a name.
    """
    eval_every: Annotated[int, Option(1, least=1)]
    """Epochs between evaluations of the validation split."""
    patience: Annotated[int | None, Option(least=1)]
    """Stop after so many evaluations without a better validation score."""
    seed: Annotated[int, Option(0, run_least=0, fact=True)]
    """Of the epochs' order, the neighbour draws and dropout.

    A model's first parameters are the caller's in Python (``torch.manual_seed``), and
    of this seed in a run.
    """
    precision: Annotated[
        Literal["float32", "medium", "bf16", "fp16"], Option("float32", fact=True)
    ]
    """Of dense products in training; parameters and sums stay float32.

    "medium" lets torch round the factors of float32 products to bfloat16, "bf16" keeps
    hidden rows in bfloat16 as well: faster where the processor has instructions for it.
    "fp16" is float16 with a scaled loss, for what a layer leaves to torch's autocast;
    updates whose gradient is not finite are left out. Parameters, their gradients, sums
    over neighbours and evaluation stay float32.
    """
    gradients: Annotated[
        Literal["tree", "ring", "async", "server"],
        Option("tree", group=GRADIENTS, fact="gradients"),
    ]
    """How gradients of parts are combined: docs/gradients.md.

    Each step waits for the sum of all parts' gradients, added in a tree over parts, or
    piece by piece around them ("ring": other last bits). With "async" it is taken at
    the parameters of `staleness` updates before: always as many, so the bits are as
    reproducible, and sums travel while the next step is computed. With "server" workers
    that are free take the next part's seeds of a step, and each such gradient makes an
    update when it comes: slow workers hold nobody up, and the bits depend on time.
    """
    staleness: Annotated[int | None, Option(least=0, fact="gradients")]
    """Updates that async is late, or server at most.

    With "async": how late gradients are (1 unless given; 0 is the same as "tree", to
    the bit). With "server": how late they may be at most (8 unless given).
    """
    compensation: Annotated[
        Literal["none", "linear", "inverse", "dc-asgd"],
        Option("none", fact="gradients"),
    ]
    """What is done about staleness.

    Against staleness t: divide the learning rate by 1 + 0.1 t or by max(1, t), or
    correct the gradient (Zheng et al. 2017).
    """
    accumulate: Annotated[int, Option(1, least=1, fact="gradients")]
    """Steps that make one update.

    Their gradients are weighted by their seeds. Updates do not reach over an epoch's
    end.
    """
    clip_norm: Annotated[float | None, Option(above=0, fact="gradients")]
    """Largest norm of an update's gradient.

    Longer ones are shortened to it.
    """
    compress: Annotated[str | None, Option(metavar="HOW", fact="gradients")]
    """Send less of gradients: topk:0.01, powersgd:2, fp16, bf16 or int8.

    ``"topk:0.01"`` is a gradient's largest hundredth, ``"powersgd:2"`` two factors of
    rank 2 a matrix. What is left out is added to the part's next gradient.
    """
    local_steps: Annotated[int | None, Option(least=1, metavar="K", fact="gradients")]
    """Steps that each part takes by itself between averages.

    With its own seeds; then, and at an epoch's end, parameters and moments are averaged
    over parts.
    """
    checksum_every: Annotated[int | None, Option(least=1, metavar="STEPS")]
    """Compare all workers' copies of the parameters.

    Steps between comparisons. A run whose copies differ is stopped, naming the step and
    the worker.
    """
    steps: Annotated[Literal["auto", "tasks", "window"], Option("auto", group=STEPS)]
    """Run steps as tasks, or a window of them as one task a worker: same bits.

    "auto" takes windows where steps are short.
    """
    window: Annotated[int | None, Option(least=1, metavar="STEPS")]
    """Most steps that are prepared as one task graph.

    None is ``gnn.window`` of Dask's configuration.
    """
    threads_per_part: Annotated[int, Option(1, least=1, fact=True)]
    """Threads of a numeric task.

    Bits depend on it, so it belongs to the plan.
    """
    halo_cache: Annotated[int | str, Option(0, check=cache_bytes, metavar="SIZE")]
    """Keep so much of other parts' features in each part, as in '64 MB'.

    0 keeps none. Not a bit depends on it.
    """
    halo_cache_policy: Annotated[Literal["static", "lru"], Option("static")]
    """Keep what is expected to be visited most, or what was used last.

    "static" is chosen before the first step.
    """
    standby: Annotated[int, Option(0, group=CLUSTER, least=0, metavar="N")]
    """Workers besides, ready to go on at once for one that is lost.

    They hold copies of all blocks, and no part; a trainer takes them from those that
    there are.
    """
    adapt: Annotated[
        Sequence[int] | None,
        Option(check=fewest_and_most, metavar="MIN,MAX", type_name="(int, int)"),
    ]
    """Start and retire workers of the own cluster as throughput says.

    Fewest and most workers: the cluster is scaled between them while that makes steps
    faster. Without it, `advice` says what would.
    """
    out: Annotated[str | Path | None, Option(group=FILES, shown="runs/GRAPH")]
    """Directory of the run, or a URL for fsspec, as in s3://a/run.

    For ``metrics.jsonl``, ``summary.json`` and ``checkpoints/``.
    """
    checkpoint_every: Annotated[int | None, Option(least=1, metavar="STEPS")]
    """Steps between checkpoints, beyond the one at each epoch's end.

    Training goes on while one is written.
    """
    checkpoint_seconds: Annotated[float | None, Option(above=0, metavar="SECONDS")]
    """Seconds between checkpoints, beside or in place of steps."""
    keep_checkpoints: Annotated[int, Option(2, least=1, metavar="N")]
    """Keep the newest N, and the best epoch's."""
