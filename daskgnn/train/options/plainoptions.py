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
    """Options of both a trainer and a run."""

    normalize_features: Annotated[
        bool,
        Option(
            "Divide each node's features by their sum.", False, group=GRAPH, fact=True
        ),
    ]
    feature_dtype: Annotated[
        Literal["float32", "float16", "bfloat16"] | None,
        Option(
            "Type in which workers hold and send dense features.",
            notes="None keeps the type of the store. Sums over features are computed "
            "in float32 in any case.",
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
            "Probability with which a neighbour is sampled.",
            "uniform",
            notes="Equal for all neighbours, or in proportion to the edge's weight or "
            "to the neighbour's degree.",
            fact=True,
        ),
    ]
    batch_size: Annotated[
        int,
        Option(
            "Seeds per step, over all parts together.",
            1024,
            group=TRAINING,
            least=1,
            fact=True,
        ),
    ]
    optimizer: Annotated[
        "str | OptimizerFactory",
        Option(
            "A name in torch.optim, for instance adam, adamw or sgd.",
            "adam",
            notes="In Python also a function that takes a list of parameters and "
            "returns an optimizer. Optimizers that need a closure or sparse gradients "
            "cannot be used.",
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
            notes="Used if `optimizer` is a name.",
            least=0,
            fact="optimizer",
        ),
    ]
    weight_decay: Annotated[
        float,
        Option(
            "Weight decay.",
            0.0,
            notes="Used if `optimizer` is a name.",
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
            "Stop after this many evaluations without a better validation score.",
            least=1,
        ),
    ]
    seed: Annotated[
        int,
        Option(
            "Seed of shuffling, neighbour sampling and dropout.",
            0,
            notes="In Python it does not set the model's initial weights: call "
            "``torch.manual_seed`` for them. `daskgnn train` sets them from it.",
            run_least=0,
            fact=True,
        ),
    ]
    precision: Annotated[
        Literal["float32", "medium", "bf16", "fp16"],
        Option(
            "Precision of matrix products in training.",
            "float32",
            notes='"medium" lets torch round the factors of float32 products to '
            'bfloat16. "bf16" also keeps hidden rows in bfloat16. Both are faster '
            "where the processor has bfloat16 instructions. "
            '"fp16" uses float16 for the products that torch\'s autocast handles, '
            "scales the loss, and skips updates whose gradient is not finite. "
            "Parameters, their gradients, sums over neighbours and evaluation are "
            "float32 in any case.",
            fact=True,
        ),
    ]
    gradients: Annotated[
        Literal["tree", "ring", "async", "server"],
        Option(
            "How the gradients of the parts are combined: see docs/gradients.md.",
            "tree",
            group=GRADIENTS,
            notes='"tree": each step waits for the sum of all parts\' gradients, '
            'added pairwise in a tree. "ring": the same sum, added piece by piece '
            "from part to part; it is equal up to rounding. "
            '"async": each gradient is applied exactly `staleness` updates late, so '
            "that sums travel while the next steps are computed. These three give "
            'reproducible results. "server": a parameter server; each part\'s '
            "gradient makes an update when it arrives. Slow workers then delay no "
            "other, but results depend on timing.",
            fact="gradients",
        ),
    ]
    staleness: Annotated[
        int | None,
        Option(
            "Updates by which gradients are late (async), or may be (server).",
            notes='With "async" exactly so many, by default 1; 0 is identical to '
            '"tree". With "server" at most so many, by default 8.',
            least=0,
            fact="gradients",
        ),
    ]
    compensation: Annotated[
        Literal["none", "linear", "inverse", "dc-asgd"],
        Option(
            "Correction of late gradients.",
            "none",
            notes='For a gradient that is t updates late, "linear" divides the '
            'learning rate by 1 + 0.1 t and "inverse" by max(1, t); "dc-asgd" corrects '
            "the gradient (Zheng et al., 2017).",
            fact="gradients",
        ),
    ]
    accumulate: Annotated[
        int,
        Option(
            "Steps whose gradients are accumulated for one update.",
            1,
            notes="Gradients are weighted by their numbers of seeds. The last update "
            "of an epoch uses the steps that are left.",
            least=1,
            fact="gradients",
        ),
    ]
    clip_norm: Annotated[
        float | None,
        Option(
            "Scale an update's gradient down to this norm if it is larger.",
            notes="As ``torch.nn.utils.clip_grad_norm_``.",
            above=0,
            fact="gradients",
        ),
    ]
    compress: Annotated[
        str | None,
        Option(
            "Compress gradients: topk:0.01, powersgd:2, fp16, bf16 or int8.",
            notes='``"topk:0.01"`` sends the largest hundredth of the entries, '
            '``"powersgd:2"`` two factors of rank 2 for each matrix. What is not sent '
            "is added to the part's next gradient.",
            metavar="HOW",
            fact="gradients",
        ),
    ]
    local_steps: Annotated[
        int | None,
        Option(
            "Steps that each part trains by itself between averages (local SGD).",
            notes="Each part uses its own seeds. Parameters and optimizer state are "
            "averaged over the parts after this many steps, and when an epoch ends.",
            least=1,
            metavar="K",
            fact="gradients",
        ),
    ]
    checksum_every: Annotated[
        int | None,
        Option(
            "Compare the workers' copies of the parameters every so many steps.",
            notes="If two copies differ, the run stops and names the step and the "
            "worker.",
            least=1,
            metavar="STEPS",
        ),
    ]
    steps: Annotated[
        Literal["auto", "tasks", "window"],
        Option(
            "Run each step as tasks, or all steps of a window in one task per worker.",
            "auto",
            group=STEPS,
            notes='Results are identical. "auto" uses "window" while steps take less '
            "than 2 s.",
        ),
    ]
    window: Annotated[
        int | None,
        Option(
            "Largest number of steps that are prepared together.",
            notes="None takes ``gnn.window`` from Dask's configuration (64).",
            least=1,
            metavar="STEPS",
        ),
    ]
    threads_per_part: Annotated[
        int,
        Option(
            "Threads that compute a part's gradient.",
            1,
            notes="Rounding depends on it, so it is the same on all workers.",
            least=1,
            fact=True,
        ),
    ]
    halo_cache: Annotated[
        int | str,
        Option(
            "Memory per part for feature rows of other parts, as in '64 MB'.",
            0,
            notes="0 caches nothing. Results do not depend on it.",
            check=cache_bytes,
            metavar="SIZE",
        ),
    ]
    halo_cache_policy: Annotated[
        Literal["static", "lru"],
        Option(
            "Which rows the halo cache keeps.",
            "static",
            notes='"static" keeps those that are expected to be needed most often, '
            'chosen before the first step; "lru" those that were used last.',
        ),
    ]
    standby: Annotated[
        int,
        Option(
            "Spare workers that replace a lost one at once.",
            0,
            group=CLUSTER,
            notes="They hold copies of all parts' data and train none. A trainer "
            "takes them from the cluster's workers; `daskgnn train` starts them in "
            "addition.",
            least=0,
            metavar="N",
        ),
    ]
    adapt: Annotated[
        Sequence[int] | None,
        Option(
            "Fewest and most workers: add or retire workers by measured throughput.",
            notes="For clusters that daskgnn or the caller started and that can be "
            "scaled. Without it, `advice` says whether more or fewer workers would "
            "help.",
            check=fewest_and_most,
            metavar="MIN,MAX",
            type_name="(int, int)",
        ),
    ]
    out: Annotated[
        str | Path | None,
        Option(
            "Directory of the run, or a URL that fsspec knows, as in s3://a/run.",
            group=FILES,
            notes="It gets ``metrics.jsonl``, ``summary.json`` and ``checkpoints/``.",
            shown="runs/GRAPH",
        ),
    ]
    checkpoint_every: Annotated[
        int | None,
        Option(
            "Steps between checkpoints, in addition to one at each epoch's end.",
            notes="Training continues while one is written.",
            least=1,
            metavar="STEPS",
        ),
    ]
    checkpoint_seconds: Annotated[
        float | None,
        Option(
            "Seconds between checkpoints, in addition to the others.",
            above=0,
            metavar="SECONDS",
        ),
    ]
    keep_checkpoints: Annotated[
        int,
        Option(
            "Keep the newest N checkpoints, and the best epoch's.",
            2,
            least=1,
            metavar="N",
        ),
    ]
