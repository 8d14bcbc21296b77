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
            "A sampler, instead of `num_neighbors` and `sample_by`.",
            group=SAMPLING,
            type_name="Sampler",
        ),
    ]
    task: Annotated[
        Any,
        Option(
            "What is predicted and how it is scored, instead of `loss`.",
            group=TRAINING,
            type_name="Task",
        ),
    ]
    loss: Annotated[
        "Loss | None",
        Option(
            "A function of outputs and labels that returns the sum over the seeds.",
            notes="None is cross entropy, or binary cross entropy where a node has "
            "several labels.",
            type_name="callable",
            fact="loss",
        ),
    ]
    scheduler: Annotated[
        "SchedulerFactory | None",
        Option(
            "A function that takes the optimizer and returns a learning-rate "
            "scheduler of `torch.optim.lr_scheduler`.",
            notes="It runs on the driver.",
            type_name="callable",
            fact="optimizer",
        ),
    ]
    scheduler_interval: Annotated[
        Literal["epoch", "step"],
        Option(
            "Whether `scheduler` advances once per epoch or once per update.",
            "epoch",
            flag=False,
            fact=True,
        ),
    ]
    deterministic: Annotated[
        bool,
        Option(
            "False allows layers that draw from torch's random generator, such as "
            "torch.nn.Dropout; results then vary from run to run.",
            True,
            flag=False,
        ),
    ]
    client: Annotated[
        Any,
        Option(
            'A Dask client. "auto" takes the current one, if there is one; None '
            "trains in this process.",
            "auto",
            group=CLUSTER,
            type_name='distributed.Client, None or "auto"',
        ),
    ]
    progress: Annotated[
        "Progress | None",
        Option(
            "An object whose methods are called after steps and epochs.",
            group=FILES,
            type_name="Progress",
        ),
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
            "Folder where data sets are looked for before a download.",
            kind="path",
            notes="By default the environment variable ``DASKGNN_DATA_DIR``.",
        ),
    ]
    num_parts: Annotated[
        int | None,
        Option(
            "Number of parts to open the graph with.",
            notes="Results depend on it, by rounding.",
            shown="as many as workers",
            least=1,
            fact="num_parts",
        ),
    ]
    num_clusters: Annotated[
        int | None, Option("Number of clusters of nodes to partition into.", least=1)
    ]
    method: Annotated[
        str, Option("The partitioner, for instance metis or hash.", "auto")
    ]
    features: Annotated[
        Literal["memory", "disk"],
        Option(
            "Keep feature rows in the workers' memory, or read them from the store.",
            "memory",
        ),
    ]
    model: Annotated[
        Literal["sage", "gcn", "gat"],
        Option("The kind of layers.", "sage", group=MODEL, fact="model"),
    ]
    aggr: Annotated[
        Literal["mean", "max", "sum"],
        Option("Aggregation over neighbours, for sage.", "mean", fact="model"),
    ]
    heads: Annotated[int, Option("Attention heads, for gat.", 8, least=1, fact="model")]
    hidden_channels: Annotated[
        int, Option("Width of hidden layers.", 128, least=1, fact="model")
    ]
    num_layers: Annotated[
        int | None,
        Option(
            "Number of layers; one hop is sampled for each.",
            shown="2",
            least=1,
            fact="model",
        ),
    ]
    dropout: Annotated[
        float,
        Option(
            "Dropout probability of hidden entries.",
            0.0,
            least=0,
            below=1,
            fact="model",
        ),
    ]
    input_dropout: Annotated[
        float,
        Option(
            "Dropout probability of input features.",
            0.0,
            least=0,
            below=1,
            fact="model",
        ),
    ]
    norm: Annotated[
        Literal["none", "layer"],
        Option("Normalisation of hidden rows.", "none", fact="model"),
    ]
    epochs: Annotated[int, Option("Epochs to train.", 20, group=TRAINING, least=1)]
    recipe: Annotated[
        bool,
        Option("Use the tested settings of this data set for what is not given.", True),
    ]
    workers: Annotated[
        int | None,
        Option(
            "Start a local cluster of N workers; 0 = no cluster.",
            group=CLUSTER,
            shown="2",
            least=0,
            metavar="N",
        ),
    ]
    memory_limit: Annotated[
        int | str | None,
        Option(
            "Memory limit of each local worker, as in '2 GiB'.",
            shown="an equal share of the machine",
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
        Option("Encrypt the local cluster, with a certificate made for this run."),
    ]
    tls_ca_file: Annotated[
        str | None,
        Option("Certificate authority of a tls:// cluster, a PEM file.", kind="path"),
    ]
    tls_cert: Annotated[
        str | None, Option("Certificate for a tls:// cluster, a PEM file.", kind="path")
    ]
    tls_key: Annotated[
        str | None, Option("Private key of --tls-cert, a PEM file.", kind="path")
    ]


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
