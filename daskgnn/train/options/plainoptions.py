"""Settings with plain values: of a trainer, and of a run in a directory."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypedDict

from daskgnn.train.options.option import (
    Option,
    cache_bytes,
    device_of_each_layer,
    fewest_and_most,
    one_or_more,
    trackers,
)
from daskgnn.values import fan_outs

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
MONITORING = "Monitoring"
GROUPS = (
    GRAPH,
    MODEL,
    SAMPLING,
    TRAINING,
    GRADIENTS,
    STEPS,
    CLUSTER,
    FILES,
    MONITORING,
)
"""The headings, in their order."""

WARMUP_STEPS = 20
"""Of a run that sets no learning-rate scheduler."""


class PlainOptions(TypedDict, total=False):
    """Options of both a trainer and a run."""

    normalize_features: Annotated[bool, Option(False, group=GRAPH, fact=True)]
    """Divide each node's features by their sum."""
    feature_dtype: Annotated[
        Literal["float32", "float16", "bfloat16"] | None,
        Option(shown="as stored", fact=True, before="float32"),
    ]
    """Type in which workers hold and send dense features.

    None keeps the type of the store. Sums over features are computed in float32 in any
    case.
    """
    sparse_features: Annotated[
        bool | None,
        Option(shown="where it pays", fact=True, before=False),
    ]
    """Keep features that are stored as CSR sparse in training: they are multiplied as
    they are.

    None decides by the graph alone: see docs/data.md. Results are equal up to rounding.
    A model of your own is given `daskgnn.nn.SparseRows`.
    """
    num_neighbors: Annotated[
        Sequence[int] | None,
        Option(
            group=SAMPLING, check=fan_outs, fact="num_neighbors", shown="15,10,5,5,..."
        ),
    ]
    """Neighbours sampled at each hop, hop 1 first; -1 = all.

    A number between 0 and 1 is a share of each node's neighbours. The default is that
    of `daskgnn train`, which takes as many of its numbers as the model has layers; a
    `Trainer` has no default.
    """
    sample_by: Annotated[
        Literal["uniform", "edge_weight", "degree"], Option("uniform", fact=True)
    ]
    """Probability with which a neighbour is sampled.

    Equal for all neighbours, or in proportion to the edge's weight or to the
    neighbour's degree.
    """
    batch_size: Annotated[int, Option(1024, group=TRAINING, least=1, fact=True)]
    """Seeds per step, over all parts together."""
    optimizer: Annotated[
        "str | OptimizerFactory",
        Option("adam", kind="name", type_name="str or callable", fact="optimizer"),
    ]
    """A name in torch.optim, for instance adam, adamw or sgd.

    In Python also a function that takes a list of parameters and returns an optimizer.
    Optimizers that need a closure or sparse gradients cannot be used.
    """
    lr: Annotated[float, Option(0.01, least=0, fact="optimizer")]
    """Learning rate.

    Used if `optimizer` is a name.
    """
    weight_decay: Annotated[float, Option(0.0, least=0, fact="optimizer")]
    """Weight decay.

    Used if `optimizer` is a name.
    """
    warmup_steps: Annotated[
        int | None, Option(shown=str(WARMUP_STEPS), least=0, fact=True, before=0)
    ]
    """Steps over which the learning rate rises to its value, in equal parts.

    The first steps of Adam are as long as the learning rate, whatever the gradient is,
    and can take a model far away. None means 20 steps, and none with a learning-rate
    scheduler; 0 turns warm-up off.
    """
    metric: Annotated[
        str | Sequence[str] | None,
        Option(
            kind="names",
            type_name="str or sequence of str",
            shown="the graph's",
            check=one_or_more,
            metavar="NAME,NAME,...",
            fact=True,
        ),
    ]
    """Scores to compute: accuracy, f1_micro, f1_macro, roc_auc, average_precision.

    Several are given as a list; the first says which epoch is best. By default the
    graph's own, or accuracy.
    """
    eval_every: Annotated[int, Option(1, least=1)]
    """Epochs between evaluations of the validation split."""
    patience: Annotated[int | None, Option(least=1)]
    """Stop after this many evaluations without a better validation score.

    Evaluations within `warmup_steps` do not count.
    """
    seed: Annotated[int, Option(0, run_least=0, fact=True)]
    """Seed of shuffling, neighbour sampling and dropout.

    In Python it does not set the model's initial weights: call ``torch.manual_seed``
    for them. `daskgnn train` sets them from it.
    """
    precision: Annotated[
        Literal["float32", "medium", "bf16", "fp16", "auto"],
        Option("float32", fact=True),
    ]
    """Precision of matrix products in training.

    "medium" lets torch round the factors of float32 products to bfloat16. "bf16" also
    keeps hidden rows in bfloat16. Both are faster where the processor has bfloat16
    instructions. "fp16" uses float16 for the products that torch's autocast handles,
    scales the loss, and skips updates whose gradient is not finite. Parameters, their
    gradients, sums over neighbours and evaluation are float32 in any case. "auto" is
    "bf16" where the processors of all workers have instructions for it, "float32"
    elsewhere; a run that is continued keeps what it began with.
    """
    gradients: Annotated[
        Literal["tree", "ring", "async", "server"],
        Option("tree", group=GRADIENTS, fact="gradients"),
    ]
    """How the gradients of the parts are combined.

    "tree": each step waits for the sum of all parts' gradients, added pairwise in a
    tree. "ring": the same sum, added piece by piece from part to part; it is equal up
    to rounding. "async": each gradient is applied exactly `staleness` updates late, so
    that sums travel while the next steps are computed. These three give reproducible
    results. "server": a parameter server; each part's gradient makes an update when it
    arrives. A slow worker then delays no other worker, but results depend on timing.
    """
    staleness: Annotated[
        int | None, Option(least=0, fact="gradients", shown="1 (async), 8 (server)")
    ]
    """Updates by which gradients are late (async), or may be (server).

    With "async" by exactly this many, by default 1; 0 is identical to "tree". With
    "server" by at most this many, by default 8.
    """
    ramp_steps: Annotated[int, Option(100, least=0, fact="gradients", before=0)]
    """Number of first steps in which gradients are not late and turn sparse gradually.

    Late or incomplete gradients hurt a model most when it has just been initialised. In
    these steps no gradient is late, and the share that ``topk`` sends falls by the same
    factor in each (Lin et al., "Deep Gradient Compression", ICLR 2018). Once that share
    is below one half, only the entries that are sent are updated. Only "async",
    "server" and ``topk`` are affected. 0 turns all of this off; `compensation="auto"`
    then means "none".
    """
    compensation: Annotated[
        Literal["auto", "none", "linear", "inverse", "adaptive", "dc-asgd"],
        Option("auto", fact="gradients", before="none"),
    ]
    """Correction of late gradients.

    For a gradient that is t updates late, "linear" divides the learning rate by 1 + 0.1
    t, "inverse" by max(1, t). "adaptive" begins with a division by 1 + t (1 + b) / (1 -
    b), where b is the optimizer's momentum (0.9 in Adam), and lets the learning rate
    rise while the loss does not. "dc-asgd" does so, too, and corrects the gradient
    (Zheng et al., 2017). "auto" means "adaptive". With ramp_steps=0 "auto" means
    "none", and "dc-asgd" leaves the learning rate as it is.
    """
    accumulate: Annotated[int, Option(1, least=1, fact="gradients")]
    """Steps whose gradients are accumulated for one update.

    Gradients are weighted by their numbers of seeds. The last update of an epoch uses
    the steps that are left.
    """
    clip_norm: Annotated[float | None, Option(above=0, fact="gradients")]
    """Scale an update's gradient down to this norm if it is larger.

    As ``torch.nn.utils.clip_grad_norm_``.
    """
    compress: Annotated[str | None, Option(metavar="HOW", fact="gradients")]
    """Compress gradients: topk:0.01, powersgd:2, fp16, bf16 or int8.

    ``"topk:0.01"`` sends the largest hundredth of the entries, ``"powersgd:2"`` two
    factors of rank 2 for each matrix. What is not sent is added to the part's next
    gradient.
    """
    local_steps: Annotated[int | None, Option(least=1, metavar="K", fact="gradients")]
    """Steps that each part trains by itself between averages (local SGD).

    Each part uses its own seeds. Parameters and optimizer state are averaged over the
    parts after this many steps, and when an epoch ends.
    """
    checksum_every: Annotated[int | None, Option(least=1, metavar="STEPS")]
    """Compare the workers' copies of the parameters every N steps.

    If two copies differ, the run stops and names the step and the worker.
    """
    steps: Annotated[Literal["auto", "tasks", "window"], Option("auto", group=STEPS)]
    """Run each step as tasks, or all steps of a window in one task per worker.

    Results are identical. "auto" uses "window" while steps take less than 2 s.
    """
    window: Annotated[int | None, Option(least=1, metavar="STEPS", shown="64")]
    """Largest number of steps that are prepared together; fewer where steps are long.

    None takes ``gnn.window`` from Dask's configuration (64).
    """
    threads_per_part: Annotated[int, Option(1, least=1, fact=True)]
    """Threads that compute a part's gradient.

    Rounding depends on it, so it is the same on all workers.
    """
    device_map: Annotated[
        Mapping[str, int] | Sequence[int] | None,
        Option(
            kind="devices",
            type_name="dict or sequence of int",
            check=device_of_each_layer,
            metavar="D,D,...",
            fact=True,
        ),
    ]
    """Worker of each layer, numbered from 0: divides the model's layers, too.

    In Python also by name, as in {"layer.0": 0, "layer.1": 1}. The parts' minibatches
    go through the layers one after the other, so there should be more parts than
    workers. Results do not depend on the map, but differ by rounding from those
    without. It rarely pays for graphs: see docs/pipelines.md.
    """
    halo_cache: Annotated[int | str, Option(0, check=cache_bytes, metavar="SIZE")]
    """Memory per part for feature rows of other parts, as in '64 MB'.

    They are kept from window to window. 0 caches nothing. Results do not depend on it.
    """
    halo_cache_policy: Annotated[Literal["static", "lru"], Option("static")]
    """Which rows the halo cache keeps.

    "static" keeps rows of the part's halo (direct neighbours of its nodes), those that
    are expected to be needed most often, chosen before the first step. "lru" keeps the
    rows of other parts that were used most recently.
    """
    standby: Annotated[int, Option(0, group=CLUSTER, least=0, metavar="N")]
    """Spare workers that replace a lost one at once.

    They hold copies of all parts' data and train none. `daskgnn train` starts them in
    addition to `workers`. With `scheduler`, and by a trainer, they are taken from the
    workers of the cluster.
    """
    adapt: Annotated[
        Sequence[int] | None,
        Option(check=fewest_and_most, metavar="MIN,MAX", type_name="(int, int)"),
    ]
    """Fewest and most workers: add or retire workers by measured throughput.

    For clusters that daskgnn or the caller started and that can be scaled. Without it,
    ``Trainer.advice`` and ``advice`` in ``summary.json`` say whether more or fewer
    workers would help.
    """
    out: Annotated[str | Path | None, Option(group=FILES, shown="runs/GRAPH")]
    """Directory of the run, or a URL that fsspec knows, as in s3://a/run.

    It gets ``metrics.jsonl``, ``summary.json`` and ``checkpoints/``. The default is
    that of `daskgnn train`; in Python, None writes nothing.
    """
    checkpoint_every: Annotated[int | None, Option(least=1, metavar="STEPS")]
    """Steps between checkpoints, in addition to one at each epoch's end.

    Training continues while one is written.
    """
    checkpoint_seconds: Annotated[float | None, Option(above=0, metavar="SECONDS")]
    """Seconds between checkpoints, in addition to the others."""
    keep_checkpoints: Annotated[int, Option(2, least=1, metavar="N")]
    """Keep the newest N checkpoints, and the best epoch's."""
    metrics_port: Annotated[
        int | None,
        Option(group=MONITORING, least=1, below=65536, metavar="PORT"),
    ]
    """Serve Prometheus metrics of the run at this port of this machine.

    This is for runs without a cluster; on a cluster, /metrics of the dashboard has them
    without this option. If the port is in use, the next free one is taken.
    """
    track: Annotated[
        str | Sequence[str] | None,
        Option(
            kind="names",
            type_name="str or sequence of str",
            check=trackers,
            metavar="NAME:DIR,...",
        ),
    ]
    """Write records for tensorboard, mlflow or wandb, as in tensorboard:logs.

    Each is given as NAME or NAME:DIR; without DIR it is a directory of that name in
    `out`. Nothing is sent anywhere.
    """
