"""Every setting of a training run, declared once: here and in `plainoptions`.

Derived from these declarations are the keyword arguments of `Trainer` and their
documentation, the options of ``daskgnn train``, what ``run.json`` holds, the defaults
beneath recipes, what a checkpoint must agree with, and docs/options.md, which
``python -m daskgnn.train.options.options`` prints.

Nothing heavy is imported here: ``--help`` does not wait for torch.
"""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from daskgnn.train.options.option import Option, callbacks, declared
from daskgnn.train.options.plainoptions import (
    CLUSTER,
    FILES,
    GRAPH,
    GROUPS,
    MODEL,
    MONITORING,
    SAMPLING,
    TRAINING,
    PlainOptions,
)
from daskgnn.train.options.samplers import checked

if TYPE_CHECKING:
    from daskgnn.tasks.loss import Loss
    from daskgnn.train.options.option import SchedulerFactory


class TrainOptions(PlainOptions, total=False):
    """The keyword arguments of `Trainer`."""

    sampler: Annotated[
        Any,
        Option(
            group=SAMPLING,
            type_name="Sampler or str",
            shown="neighbor",
            check=checked,
            fact="sampler",
        ),
    ]
    """A sampler, or the name of one with its options: "labor", "ladies:size=512".

    None is "neighbor". Only "neighbor" and "labor" take `num_neighbors`; see
    docs/sampling.md.
    """
    task: Annotated[Any, Option(group=TRAINING, type_name="Task", fact="task")]
    """What is predicted and how it is scored, instead of `loss`."""
    loss: Annotated["Loss | None", Option(type_name="callable", fact="loss")]
    """A function of outputs and labels that returns the sum or the mean over the seeds,
    for instance torch.nn.CrossEntropyLoss().

    Which of them is found by calling it. None is cross entropy, or binary cross entropy
    where a node has several labels.
    """
    lr_scheduler: Annotated[
        "SchedulerFactory | None",
        Option(type_name="callable", fact="optimizer", formerly="scheduler"),
    ]
    """A function that takes the optimizer and returns a learning-rate scheduler of
    `torch.optim.lr_scheduler`.

    It runs on the driver.
    """
    scheduler_interval: Annotated[
        Literal["epoch", "step"], Option("epoch", flag=False, fact=True)
    ]
    """Whether `lr_scheduler` advances once per epoch or once per update."""
    deterministic: Annotated[bool, Option(True, flag=False)]
    """False allows layers that draw from torch's random generator, such as
    torch.nn.Dropout; results then vary from run to run."""
    client: Annotated[
        Any,
        Option("auto", group=CLUSTER, type_name='distributed.Client, None or "auto"'),
    ]
    """A Dask client. "auto" takes the current one, if there is one; None trains in this
    process."""
    callbacks: Annotated[
        Any,
        Option((), group=MONITORING, type_name="list of Callback", check=callbacks),
    ]
    """Objects that are told what the run does: see `daskgnn.Callback`."""
    progress: Annotated[
        Any, Option("auto", group=FILES, type_name='Progress, None or "auto"')
    ]
    """What shows the run: "auto" is a bar on a terminal or in a notebook, and nothing
    elsewhere; None is nothing.

    Also an object whose methods are called after steps and epochs.
    """


class RunOptions(PlainOptions, total=False):
    """The settings of a run in a directory, as its ``run.json`` holds them."""

    graph: Annotated[
        str, Option(group=GRAPH, flag=False, shown="required", fact="graph_hash")
    ]
    """A data set's name, the path of a graph file or a store, or a database."""
    data_dir: Annotated[str | None, Option(kind="path", shown="$DASKGNN_DATA_DIR")]
    """Folder where data sets are looked for before a download."""
    num_parts: Annotated[
        int | None, Option(shown="as many as workers", least=1, fact="num_parts")
    ]
    """Number of parts to open the graph with.

    Results depend on it, by rounding. By default one for each worker that is started
    (with `adapt`, for the most there can be); 1 with ``workers=0``, which starts none;
    2 with ``workers="auto"`` or `scheduler`.
    """
    num_clusters: Annotated[int | None, Option(least=1, shown="64")]
    """Number of clusters of nodes to partition into.

    For a store, which is partitioned already, this and the next three options are
    refused.
    """
    method: Annotated[str, Option("auto")]
    """The partitioner, for instance metis or hash."""
    split: Annotated[str | None, Option(metavar="TRAIN/VAL/TEST")]
    """Draw the splits: shares of the nodes with a label, as in 60/20/20."""
    per_class: Annotated[int | None, Option(least=1, metavar="N")]
    """Draw N training nodes of each class; validate with half of the others, test with
    the rest."""
    features: Annotated[Literal["auto", "memory", "disk"], Option("auto")]
    """Keep feature rows in the workers' memory, or read them when they are needed; auto
    means disk for a graph in a database, otherwise memory."""
    model: Annotated[
        Literal["sage", "gcn", "gat"], Option("sage", group=MODEL, fact="model")
    ]
    """The kind of layers."""
    aggr: Annotated[Literal["mean", "max", "sum"], Option("mean", fact="model")]
    """Aggregation over neighbours, for sage."""
    heads: Annotated[int, Option(8, least=1, fact="model")]
    """Attention heads, for gat."""
    hidden_channels: Annotated[int, Option(128, least=1, fact="model")]
    """Width of hidden layers."""
    num_layers: Annotated[int | None, Option(shown="2", least=1, fact="model")]
    """Number of layers; one hop is sampled for each.

    By default as many as `num_neighbors` has numbers; 2 if that is not given either.
    """
    dropout: Annotated[float, Option(0.0, least=0, below=1, fact="model")]
    """Dropout probability of hidden entries."""
    input_dropout: Annotated[float, Option(0.0, least=0, below=1, fact="model")]
    """Dropout probability of input features."""
    norm: Annotated[Literal["none", "layer"], Option("none", fact="model")]
    """Normalisation of hidden rows."""
    sampler: Annotated[
        str | None,
        Option(
            group=SAMPLING,
            metavar="NAME[:OPTION=VALUE,...]",
            shown="neighbor",
            check=checked,
            fact="sampler",
        ),
    ]
    """How each step's graph is sampled: see "daskgnn samplers"."""
    start_from: Annotated[
        str | None, Option(group=TRAINING, kind="path", metavar="RUN", flag="--from")
    ]
    """Start from the best parameters of the run in this directory (fine-tuning); on the
    command line it is --from.

    What is not given is as in that run, its graph included.
    """
    epochs: Annotated[int, Option(20, least=1)]
    """Epochs to train."""
    recipe: Annotated[bool, Option(True)]
    """Use the tested settings of this data set for options that are not given."""
    workers: Annotated[
        int | None,
        Option(group=CLUSTER, shown="auto", least=0, metavar="N", none="auto"),
    ]
    """Start a local cluster of N workers; 0 = no cluster, auto = one of 2 if it pays.

    It does where training is expected to take more than 12 s in one process. Not
    together with `scheduler`.
    """
    memory_limit: Annotated[
        int | str | None, Option(shown="an equal share of the machine", metavar="SIZE")
    ]
    """Memory limit of each local worker, as in '2 GiB'."""
    scheduler: Annotated[str | None, Option(metavar="ADDRESS")]
    """Use a running cluster, for instance tcp://10.0.0.1:8786."""
    tls: Annotated[bool | None, Option(shown="no")]
    """Encrypt the local cluster, with a certificate made for this run."""
    tls_ca_file: Annotated[str | None, Option(kind="path")]
    """Certificate authority of a tls:// cluster, a PEM file."""
    tls_cert: Annotated[str | None, Option(kind="path")]
    """Certificate for a tls:// cluster, a PEM file."""
    tls_key: Annotated[str | None, Option(kind="path")]
    """Private key of --tls-cert, a PEM file."""


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


def of_older_run(settings: dict[str, Any]) -> dict[str, Any]:
    """Return a run's settings with what it did where it lacks newer ones."""
    before = {n: o.before for n, o in RUN.items() if o.before is not None}
    return before | settings


if __name__ == "__main__":
    from daskgnn.train.options.optiondocs import page

    print(page(), end="")
