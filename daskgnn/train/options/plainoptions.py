"""Settings with plain values: of a trainer, and of a run in a directory."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypedDict

from daskgnn.train.options.option import Option, cache_bytes, fan_outs, fewest_and_most

if TYPE_CHECKING:
    from daskgnn.train.options.factories import OptimizerFactory

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
    """What both a trainer and a run can be given."""

    normalize_features: Annotated[
        bool,
        Option(
            "Divide each node's features by their sum.", False, group=GRAPH, fact=True
        ),
    ]
    feature_dtype: Annotated[
        Literal["float32", "float16", "bfloat16"] | None,
        Option(
            "What workers hold dense features as.",
            notes="They are sent as that, too; None is as they are stored. Sums over "
            "them are of float32 whatever it is.",
            shown="as stored",
            fact=True,
            before="float32",
        ),
    ]
    num_neighbors: Annotated[
        Sequence[int] | None,
        Option(
            "Neighbours sampled at each hop, hop 1 first; -1 = all.",
            group=SAMPLING,
            check=fan_outs,
            fact="num_neighbors",
        ),
    ]
    sample_by: Annotated[
        Literal["uniform", "edge_weight", "degree"],
        Option(
            "What a neighbour's chance to be sampled follows.",
            "uniform",
            notes="Draw uniformly, or in proportion to edge weights or degrees.",
            fact=True,
        ),
    ]
    batch_size: Annotated[
        int,
        Option(
            "Seeds a step, over all parts.", 1024, group=TRAINING, least=1, fact=True
        ),
    ]
    optimizer: Annotated[
        "str | OptimizerFactory",
        Option(
            "A name in torch.optim, for instance adam, adamw or sgd.",
            "adam",
            notes="In Python also a function from a list of parameters to an optimizer "
            "that needs no closure and no sparse gradients.",
            kind="name",
            type_name="str or callable",
            fact="optimizer",
        ),
    ]
    lr: Annotated[
        float,
        Option(
            "Learning rate.",
            0.01,
            notes="Given to `optimizer` if that is a name.",
            least=0,
            fact="optimizer",
        ),
    ]
    weight_decay: Annotated[
        float,
        Option(
            "Weight decay.",
            0.0,
            notes="Given to `optimizer` if that is a name.",
            least=0,
            fact="optimizer",
        ),
    ]
    eval_every: Annotated[
        int, Option("Epochs between evaluations of the validation split.", 1, least=1)
    ]
    patience: Annotated[
        int | None,
        Option(
            "Stop after so many evaluations without a better validation score.", least=1
        ),
    ]
    seed: Annotated[
        int,
        Option(
            "Of the epochs' order, the neighbour draws and dropout.",
            0,
            notes="A model's first parameters are the caller's in Python "
            "(``torch.manual_seed``), and of this seed in a run.",
            run_least=0,
            fact=True,
        ),
    ]
    precision: Annotated[
        Literal["float32", "medium", "bf16", "fp16"],
        Option(
            "Of dense products in training; parameters and sums stay float32.",
            "float32",
            notes='"medium" lets torch round the factors of float32 products to '
            'bfloat16, "bf16" keeps hidden rows in bfloat16 as well: faster where the '
            'processor has instructions for it. "fp16" is float16 with a scaled loss, '
            "for what a layer leaves to torch's autocast; updates whose gradient is "
            "not finite are left out. Parameters, their gradients, sums over "
            "neighbours and evaluation stay float32.",
            fact=True,
        ),
    ]
    gradients: Annotated[
        Literal["tree", "ring", "async", "server"],
        Option(
            "How gradients of parts are combined: docs/gradients.md.",
            "tree",
            group=GRADIENTS,
            notes="Each step waits for the sum of all parts' gradients, added in a "
            'tree over parts, or piece by piece around them ("ring": other last bits). '
            'With "async" it is taken at the parameters of `staleness` updates before: '
            "always as many, so the bits are as reproducible, and sums travel while "
            'the next step is computed. With "server" workers that are free take the '
            "next part's seeds of a step, and each such gradient makes an update when "
            "it comes: slow workers hold nobody up, and the bits depend on time.",
            fact="gradients",
        ),
    ]
    staleness: Annotated[
        int | None,
        Option(
            "Updates that async is late, or server at most.",
            notes='With "async": how late gradients are (1 unless given; 0 is the same '
            'as "tree", to the bit). With "server": how late they may be at most (8 '
            "unless given).",
            least=0,
            fact="gradients",
        ),
    ]
    compensation: Annotated[
        Literal["none", "linear", "inverse", "dc-asgd"],
        Option(
            "What is done about staleness.",
            "none",
            notes="Against staleness t: divide the learning rate by 1 + 0.1 t or by "
            "max(1, t), or correct the gradient (Zheng et al. 2017).",
            fact="gradients",
        ),
    ]
    accumulate: Annotated[
        int,
        Option(
            "Steps that make one update.",
            1,
            notes="Their gradients are weighted by their seeds. Updates do not reach "
            "over an epoch's end.",
            least=1,
            fact="gradients",
        ),
    ]
    clip_norm: Annotated[
        float | None,
        Option(
            "Largest norm of an update's gradient.",
            notes="Longer ones are shortened to it.",
            above=0,
            fact="gradients",
        ),
    ]
    compress: Annotated[
        str | None,
        Option(
            "Send less of gradients: topk:0.01, powersgd:2, fp16, bf16 or int8.",
            notes='``"topk:0.01"`` is a gradient\'s largest hundredth, '
            '``"powersgd:2"`` two factors of rank 2 a matrix. What is left out is '
            "added to the part's next gradient.",
            metavar="HOW",
            fact="gradients",
        ),
    ]
    local_steps: Annotated[
        int | None,
        Option(
            "Steps that each part takes by itself between averages.",
            notes="With its own seeds; then, and at an epoch's end, parameters and "
            "moments are averaged over parts.",
            least=1,
            metavar="K",
            fact="gradients",
        ),
    ]
    checksum_every: Annotated[
        int | None,
        Option(
            "Compare all workers' copies of the parameters.",
            notes="Steps between comparisons. A run whose copies differ is stopped, "
            "naming the step and the worker.",
            least=1,
            metavar="STEPS",
        ),
    ]
    steps: Annotated[
        Literal["auto", "tasks", "window"],
        Option(
            "Run steps as tasks, or a window of them as one task a worker: same bits.",
            "auto",
            group=STEPS,
            notes='"auto" takes windows where steps are short.',
        ),
    ]
    window: Annotated[
        int | None,
        Option(
            "Most steps that are prepared as one task graph.",
            notes="None is ``gnn.window`` of Dask's configuration.",
            least=1,
            metavar="STEPS",
        ),
    ]
    threads_per_part: Annotated[
        int,
        Option(
            "Threads of a numeric task.",
            1,
            notes="Bits depend on it, so it belongs to the plan.",
            least=1,
            fact=True,
        ),
    ]
    halo_cache: Annotated[
        int | str,
        Option(
            "Keep so much of other parts' features in each part, as in '64 MB'.",
            0,
            notes="0 keeps none. Not a bit depends on it.",
            check=cache_bytes,
            metavar="SIZE",
        ),
    ]
    halo_cache_policy: Annotated[
        Literal["static", "lru"],
        Option(
            "Keep what is expected to be visited most, or what was used last.",
            "static",
            notes='"static" is chosen before the first step.',
        ),
    ]
    standby: Annotated[
        int,
        Option(
            "Workers besides, ready to go on at once for one that is lost.",
            0,
            group=CLUSTER,
            notes="They hold copies of all blocks, and no part; a trainer takes them "
            "from those that there are.",
            least=0,
            metavar="N",
        ),
    ]
    adapt: Annotated[
        Sequence[int] | None,
        Option(
            "Start and retire workers of the own cluster as throughput says.",
            notes="Fewest and most workers: the cluster is scaled between them while "
            "that makes steps faster. Without it, `advice` says what would.",
            check=fewest_and_most,
            metavar="MIN,MAX",
            type_name="(int, int)",
        ),
    ]
    out: Annotated[
        str | Path | None,
        Option(
            "Directory of the run, or a URL for fsspec, as in s3://a/run.",
            group=FILES,
            notes="For ``metrics.jsonl``, ``summary.json`` and ``checkpoints/``.",
            shown="runs/GRAPH",
        ),
    ]
    checkpoint_every: Annotated[
        int | None,
        Option(
            "Steps between checkpoints, beyond the one at each epoch's end.",
            notes="Training goes on while one is written.",
            least=1,
            metavar="STEPS",
        ),
    ]
    checkpoint_seconds: Annotated[
        float | None,
        Option(
            "Seconds between checkpoints, beside or in place of steps.",
            above=0,
            metavar="SECONDS",
        ),
    ]
    keep_checkpoints: Annotated[
        int, Option("Keep the newest N, and the best epoch's.", 2, least=1, metavar="N")
    ]
