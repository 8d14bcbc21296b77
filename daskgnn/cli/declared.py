"""Options of single commands, declared as settings of a run are.

The docstring beneath a name is its line of ``--help``. What has no default and cannot
be None must be given.
"""

from collections.abc import Sequence
from typing import Annotated, Literal, TypedDict

from daskgnn.train.options.option import Option

FeatureType = Literal["float32", "float16", "bfloat16"]


class PartitionOptions(TypedDict):
    """Of ``partition``."""

    method: Annotated[str, Option("auto")]
    """The partitioner (auto: METIS, or KaMinPar where it is faster), or the file of an
    assignment: .npy, or a number a line."""
    num_clusters: Annotated[int | None, Option(shown="64", least=1)]
    """Clusters to cut the graph into; opening joins them to parts."""
    seed: Annotated[int, Option(0, least=0)]
    num_parts: Annotated[int, Option(2, least=1)]
    """Parts that the quality report is for."""
    feature_dtype: Annotated[FeatureType, Option("float32")]
    """What dense features are rounded to and stored as."""
    num_neighbors: Annotated[Sequence[int], Option("15,10")]
    """Fan-outs of the training whose traffic is estimated."""
    batch_size: Annotated[int, Option(1024, least=1)]
    window: Annotated[int, Option(1, least=1)]
    """Steps that fetch a remote row once, in that estimate."""
    estimate: Annotated[bool, Option(False)]
    """Say first what time and memory it will take; without OUT, for every method."""
    compare: Annotated[Sequence[str] | None, Option()]
    """Run these methods, print their numbers side by side, and store nothing."""
    json: Annotated[str | None, Option(kind="path")]
    """Of --compare: a list of one object a method."""
    plot: Annotated[str | None, Option(kind="path")]
    """Of --compare: draw it as a PNG."""
    force: Annotated[bool, Option(False)]
    """Replace OUT if it exists."""


class GenerateOptions(TypedDict):
    """Of ``generate``."""

    nodes: Annotated[int, Option(least=1)]
    """N; rmat takes 2**k."""
    edges: Annotated[int, Option(least=1)]
    """Undirected edges."""
    classes: Annotated[int | None, Option(shown="10", least=1)]
    """Classes of the nodes."""
    features: Annotated[int | None, Option(shown="32", least=0)]
    """Of a node."""
    method: Annotated[str, Option("auto")]
    """The partitioner."""
    num_clusters: Annotated[int | None, Option(shown="64", least=1)]
    """As of partition."""
    seed: Annotated[int, Option(0, least=0)]
    feature_dtype: Annotated[FeatureType, Option("float32")]
    """What features are rounded to and stored as."""
    memory_limit: Annotated[str | None, Option(shown="4 GiB")]
    """What drawing out of core may hold."""
    force: Annotated[bool, Option(False)]
    """Replace OUT if it exists."""


class InfoOptions(TypedDict):
    """Of ``info``."""

    num_parts: Annotated[int | None, Option(shown="workers, or 2", least=1)]
    as_json: Annotated[bool, Option(False)]
    """Print one JSON object."""
    validate: Annotated[bool, Option(False)]
    """Read everything and prove the store right."""
    workers: Annotated[int | None, Option(least=0)]
    """Plan the memory of training on so many; 0 = no cluster."""
    num_neighbors: Annotated[Sequence[int], Option("15,10")]
    """Of that training, and of the traffic that is estimated."""
    batch_size: Annotated[int, Option(1024, least=1)]
    hidden_channels: Annotated[int, Option(128, least=1)]
    features: Annotated[Literal["memory", "disk"], Option("memory")]
    """Where that training has feature rows."""
    feature_dtype: Annotated[FeatureType | None, Option()]
    memory_limit: Annotated[str | None, Option(shown="a share of all memory")]
    """A worker's."""


class ChaosOptions(TypedDict):
    """Of ``chaos``, beside its cluster."""

    kill_every: Annotated[float, Option(5.0, above=0.0, metavar="SECONDS")]
    """Mean time between kills; the times are random."""
    kill: Annotated[Literal["workers", "scheduler", "both"], Option("workers")]
    """Whom. Schedulers of the command's own cluster alone."""
    epochs: Annotated[int, Option(3, least=1)]
    num_parts: Annotated[int | None, Option(least=1)]
    """Parts to open the graph with."""
    batch_size: Annotated[int | None, Option(least=1)]
    """Seeds a step, in all parts."""
    seed: Annotated[int, Option(0, least=0)]


class OutputOptions(TypedDict):
    """Of ``chaos``: what stays of it."""

    out: Annotated[str | None, Option(kind="path", shown="nowhere")]
    """Keep both runs here."""
    as_json: Annotated[bool, Option(False)]
    """Print one JSON object."""


class CommandOptions(TypedDict):
    """Of ``train``: how it is called, which is no setting of a run."""

    config: Annotated[str | None, Option(kind="path", metavar="FILE")]
    """Take settings from a file, YAML or JSON, or a run's run.json."""
    resume: Annotated[str | None, Option(kind="path", metavar="DIR")]
    """Continue the run in DIR."""
    profile: Annotated[bool, Option(False)]
    """Print and draw where the steps' time went."""
    reconnect_timeout: Annotated[
        float | None, Option(least=0.0, metavar="SECONDS", shown="60")
    ]
    """How long to wait for the next scheduler at --scheduler."""


class ReaderOptions(TypedDict):
    """Of commands that read files: what their readers take."""

    directed: Annotated[bool, Option(False)]
    """Of a file: keep directions."""
    self_loops: Annotated[Literal["drop", "keep"] | None, Option(shown="drop")]
    """Of a file."""
    ids: Annotated[Literal["auto", "keep", "map"] | None, Option(shown="auto")]
    """Of a file: nodes are called 0..N-1, or by anything."""
    source: Annotated[str | None, Option()]
    """Of a file of edges: a column."""
    destination: Annotated[str | None, Option()]
    """Of a file of edges: a column."""
    weight: Annotated[str | None, Option()]
    """Of a file of edges: a column."""
    nodes: Annotated[str | None, Option()]
    """Beside a file of edges: a Parquet or CSV table of nodes."""
    features: Annotated[str | None, Option()]
    """Columns of --nodes: a,b,c."""
    labels: Annotated[str | None, Option()]
    """A column of --nodes."""
    memory_limit: Annotated[str | None, Option(shown="1 GiB")]
    """What reading a file may hold beside the graph (with --out-of-core: all in all, 4
    GiB)."""


class PreparingOptions(TypedDict):
    """Of commands that make a store, beside the cluster that helps them."""

    out_of_core: Annotated[bool, Option(False)]
    """Keep edges and rows in files beside OUT, for graphs beyond memory."""
    resume: Annotated[bool, Option(False)]
    """Go on with what --out-of-core had begun."""
