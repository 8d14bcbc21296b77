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
    from daskgnn.train.options.option import SchedulerFactory
    from daskgnn.train.persist.recorder import Progress


class TrainOptions(PlainOptions, total=False):
    """The keyword arguments of `Trainer`."""

    sampler: Annotated[Any, Option(group=SAMPLING, type_name="Sampler")]
    """In place of `num_neighbors` and `sample_by`: how neighbourhoods are sampled."""
    task: Annotated[Any, Option(group=TRAINING, type_name="Task")]
    """In place of `loss`: what is predicted, and how it is scored."""
    loss: Annotated["Loss | None", Option(type_name="callable", fact="loss")]
    """(outputs, labels) -> the sum over the seeds.

    None is cross entropy, or binary cross entropy for several labels a node.
    """
    scheduler: Annotated[
        "SchedulerFactory | None", Option(type_name="callable", fact="optimizer")
    ]
    """From an optimizer to any of `torch.optim.lr_scheduler`.

    It runs on the driver.
    """
    scheduler_interval: Annotated[
        Literal["epoch", "step"], Option("epoch", flag=False, fact=True)
    ]
    """When `scheduler` advances."""
    deterministic: Annotated[bool, Option(True, flag=False)]
    """False allows layers that draw from torch's generator; bits then vary."""
    client: Annotated[
        Any,
        Option("auto", group=CLUSTER, type_name='distributed.Client, None or "auto"'),
    ]
    """A client of Dask: "auto" takes the current one if there is one; None trains in
    this process.
    """
    progress: Annotated["Progress | None", Option(group=FILES, type_name="Progress")]
    """What is told of steps and epochs."""


class RunOptions(PlainOptions, total=False):
    """The settings of a run in a directory, as its ``run.json`` holds them."""

    graph: Annotated[str, Option(group=GRAPH, flag=False, fact="graph_hash")]
    """A data set's name, or the path of a graph file or a store."""
    data_dir: Annotated[str | None, Option(kind="path")]
    """Folder where data sets are looked for first.

    Else the environment variable ``DASKGNN_DATA_DIR``.
    """
    num_parts: Annotated[
        int | None, Option(shown="as many as workers", least=1, fact="num_parts")
    ]
    """Parts to open the graph with.

    As many as there are workers, unless given; results depend on it.
    """
    num_clusters: Annotated[int | None, Option(least=1)]
    """Clusters to partition into."""
    method: Annotated[str, Option("auto")]
    """The partitioner, for instance metis or hash."""
    features: Annotated[Literal["memory", "disk"], Option("memory")]
    """Where feature rows stay: in memory, or in the store's files."""
    model: Annotated[
        Literal["sage", "gcn", "gat"], Option("sage", group=MODEL, fact="model")
    ]
    """The kind of layers."""
    aggr: Annotated[Literal["mean", "max", "sum"], Option("mean", fact="model")]
    """How sage sums neighbours up."""
    heads: Annotated[int, Option(8, least=1, fact="model")]
    """Attention heads of gat."""
    hidden_channels: Annotated[int, Option(128, least=1, fact="model")]
    """Width of hidden layers."""
    num_layers: Annotated[int | None, Option(shown="2", least=1, fact="model")]
    """Layers: as many as hops are sampled."""
    dropout: Annotated[float, Option(0.0, least=0, below=1, fact="model")]
    """Share of hidden entries that are dropped."""
    input_dropout: Annotated[float, Option(0.0, least=0, below=1, fact="model")]
    """Share of input features that are dropped."""
    norm: Annotated[Literal["none", "layer"], Option("none", fact="model")]
    """Normalise hidden rows."""
    epochs: Annotated[int, Option(20, group=TRAINING, least=1)]
    """Epochs to train."""
    recipe: Annotated[bool, Option(True)]
    """Take what is not given from the data set's tested settings."""
    workers: Annotated[
        int | None, Option(group=CLUSTER, shown="2", least=0, metavar="N")
    ]
    """Start a local cluster of N; 0 = no cluster."""
    memory_limit: Annotated[
        int | str | None, Option(shown="a share of all", metavar="SIZE")
    ]
    """Of each worker of the own cluster, as in '2 GiB'."""
    scheduler: Annotated[str | None, Option(metavar="ADDRESS")]
    """Use a running cluster, for instance tcp://10.0.0.1:8786."""
    tls: Annotated[bool | None, Option()]
    """Encrypt the local cluster, with a certificate made for it."""
    tls_ca_file: Annotated[str | None, Option(kind="path")]
    """Authority of a tls:// cluster, PEM."""
    tls_cert: Annotated[str | None, Option(kind="path")]
    """Certificate for it, PEM."""
    tls_key: Annotated[str | None, Option(kind="path")]
    """Key of the certificate, PEM."""


def _by_heading(names: type) -> dict[str, Option]:
    """Return the options that a class declares, sorted by their headings."""
    found = declared(PlainOptions, names).items()
    return dict(sorted(found, key=lambda item: GROUPS.index(item[1].group)))


TRAINER: dict[str, Option] = _by_heading(TrainOptions)
"""What a trainer can be given."""

RUN: dict[str, Option] = {
    name: option.in_run() for name, option in _by_heading(RunOptions).items()
}
"""What a run can be given."""


if __name__ == "__main__":
    from daskgnn.train.options.optiondocs import page

    print(page(), end="")
