"""Every setting of a training run, declared once: here and in `plainoptions`.

Derived from these declarations are the keyword arguments of `Trainer` and their
documentation, the options of ``daskgnn train``, what ``run.json`` holds, the defaults
beneath recipes, what a checkpoint must agree with, and docs/options.md, which
``python -m daskgnn.train.options.options`` prints.

Nothing heavy is imported here: ``--help`` does not wait for torch.
"""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from daskgnn.train.options.option import Option, declared
from daskgnn.train.options.plainoptions import (
    CLUSTER,
    FILES,
    GRAPH,
    GROUPS,
    MODEL,
    SAMPLING,
    TRAINING,
    PlainOptions,
)

if TYPE_CHECKING:
    from daskgnn.tasks.loss import Loss
    from daskgnn.train.options.factories import SchedulerFactory
    from daskgnn.train.persist.recorder import Progress


class TrainOptions(PlainOptions, total=False):
    """The keyword arguments of `Trainer`."""

    sampler: Annotated[
        Any,
        Option(
            "In place of `num_neighbors` and `sample_by`: how neighbourhoods are "
            "sampled.",
            group=SAMPLING,
            type_name="Sampler",
        ),
    ]
    task: Annotated[
        Any,
        Option(
            "In place of `loss`: what is predicted, and how it is scored.",
            group=TRAINING,
            type_name="Task",
        ),
    ]
    loss: Annotated[
        "Loss | None",
        Option(
            "(outputs, labels) -> the sum over the seeds.",
            notes="None is cross entropy, or binary cross entropy for several labels "
            "a node.",
            type_name="callable",
            fact="loss",
        ),
    ]
    scheduler: Annotated[
        "SchedulerFactory | None",
        Option(
            "From an optimizer to any of `torch.optim.lr_scheduler`.",
            notes="It runs on the driver.",
            type_name="callable",
            fact="optimizer",
        ),
    ]
    scheduler_interval: Annotated[
        Literal["epoch", "step"],
        Option("When `scheduler` advances.", "epoch", flag=False, fact=True),
    ]
    deterministic: Annotated[
        bool,
        Option(
            "False allows layers that draw from torch's generator; bits then vary.",
            True,
            flag=False,
        ),
    ]
    client: Annotated[
        Any,
        Option(
            'A client of Dask: "auto" takes the current one if there is one; None '
            "trains in this process.",
            "auto",
            group=CLUSTER,
            type_name='distributed.Client, None or "auto"',
        ),
    ]
    progress: Annotated[
        "Progress | None",
        Option("What is told of steps and epochs.", group=FILES, type_name="Progress"),
    ]


class RunOptions(PlainOptions, total=False):
    """The settings of a run in a directory, as its ``run.json`` holds them."""

    graph: Annotated[
        str,
        Option(
            "A data set's name, or the path of a graph file or a store.",
            group=GRAPH,
            flag=False,
            fact="graph_hash",
        ),
    ]
    data_dir: Annotated[
        str | None,
        Option(
            "Folder where data sets are looked for first.",
            kind="path",
            notes="Else the environment variable ``DASKGNN_DATA_DIR``.",
        ),
    ]
    num_parts: Annotated[
        int | None,
        Option(
            "Parts to open the graph with.",
            notes="As many as there are workers, unless given; results depend on it.",
            shown="as many as workers",
            least=1,
            fact="num_parts",
        ),
    ]
    num_clusters: Annotated[int | None, Option("Clusters to partition into.", least=1)]
    method: Annotated[
        str, Option("The partitioner, for instance metis or hash.", "auto")
    ]
    features: Annotated[
        Literal["memory", "disk"],
        Option(
            "Where feature rows stay: in memory, or in the store's files.", "memory"
        ),
    ]
    model: Annotated[
        Literal["sage", "gcn", "gat"],
        Option("The kind of layers.", "sage", group=MODEL, fact="model"),
    ]
    aggr: Annotated[
        Literal["mean", "max", "sum"],
        Option("How sage sums neighbours up.", "mean", fact="model"),
    ]
    heads: Annotated[int, Option("Attention heads of gat.", 8, least=1, fact="model")]
    hidden_channels: Annotated[
        int, Option("Width of hidden layers.", 128, least=1, fact="model")
    ]
    num_layers: Annotated[
        int | None,
        Option(
            "Layers: as many as hops are sampled.", shown="2", least=1, fact="model"
        ),
    ]
    dropout: Annotated[
        float,
        Option(
            "Share of hidden entries that are dropped.",
            0.0,
            least=0,
            below=1,
            fact="model",
        ),
    ]
    input_dropout: Annotated[
        float,
        Option(
            "Share of input features that are dropped.",
            0.0,
            least=0,
            below=1,
            fact="model",
        ),
    ]
    norm: Annotated[
        Literal["none", "layer"], Option("Normalise hidden rows.", "none", fact="model")
    ]
    epochs: Annotated[int, Option("Epochs to train.", 20, group=TRAINING, least=1)]
    recipe: Annotated[
        bool,
        Option("Take what is not given from the data set's tested settings.", True),
    ]
    workers: Annotated[
        int | None,
        Option(
            "Start a local cluster of N; 0 = no cluster.",
            group=CLUSTER,
            shown="2",
            least=0,
            metavar="N",
        ),
    ]
    memory_limit: Annotated[
        int | str | None,
        Option(
            "Of each worker of the own cluster, as in '2 GiB'.",
            shown="a share of all",
            metavar="SIZE",
        ),
    ]
    scheduler: Annotated[
        str | None,
        Option(
            "Use a running cluster, for instance tcp://10.0.0.1:8786.",
            metavar="ADDRESS",
        ),
    ]
    tls: Annotated[
        bool | None,
        Option("Encrypt the local cluster, with a certificate made for it."),
    ]
    tls_ca_file: Annotated[
        str | None, Option("Authority of a tls:// cluster, PEM.", kind="path")
    ]
    tls_cert: Annotated[str | None, Option("Certificate for it, PEM.", kind="path")]
    tls_key: Annotated[str | None, Option("Key of the certificate, PEM.", kind="path")]


def _ordered(names: type, first: type) -> dict[str, Option]:
    """Return the options of a class by headings, those of another one first in each."""
    found = {n: o for cls in (first, names) for n, o in declared(cls).items()}
    return dict(sorted(found.items(), key=lambda item: GROUPS.index(item[1].group)))


TRAINER: dict[str, Option] = _ordered(TrainOptions, PlainOptions)
"""What a trainer can be given."""

RUN: dict[str, Option] = {
    name: option.in_run() for name, option in _ordered(RunOptions, RunOptions).items()
}
"""What a run can be given."""


if __name__ == "__main__":
    from daskgnn.train.options.optiondocs import page

    print(page(), end="")
