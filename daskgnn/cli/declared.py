"""Options of single commands, declared as settings of a run are.

The docstring beneath a name is its line of ``--help``. What has no default and cannot
be None must be given.
"""

from collections.abc import Sequence
from typing import Annotated, Literal, TypedDict

from daskgnn.train.options.option import Option

Split = Literal["train", "val", "test"]
FeatureType = Literal["float32", "float16", "bfloat16"]


class PartitionOptions(TypedDict):
    """Of ``partition``."""

    method: Annotated[str, Option("auto")]
    """The partitioner (auto: METIS, or KaMinPar for large graphs), or a file with the
    cluster of each node: .npy, or text with one number a line."""
    num_clusters: Annotated[int | None, Option(shown="64", least=1)]
    """Clusters of nodes, which are joined to parts later."""
    seed: Annotated[int, Option(0, least=0)]
    """Of the partitioner, and of --split and --per-class."""
    split: Annotated[str | None, Option(metavar="TRAIN/VAL/TEST")]
    """Draw the splits: shares of the nodes with a label, as in 60/20/20."""
    per_class: Annotated[int | None, Option(least=1, metavar="N")]
    """Draw N training nodes of each class; validate with half of the others, test with
    the rest."""
    num_parts: Annotated[int, Option(2, least=1)]
    """Number of parts for the quality report."""
    feature_dtype: Annotated[FeatureType, Option("float32")]
    """Type that dense features are rounded to and stored as."""
    num_neighbors: Annotated[Sequence[int], Option("15,10")]
    """Fan-outs for the estimate of training traffic."""
    batch_size: Annotated[int, Option(1024, least=1)]
    window: Annotated[int, Option(1, least=1)]
    """Steps per window in that estimate; each row is fetched once a window."""
    estimate: Annotated[bool, Option(False)]
    """Print expected time and memory first; without OUT, of every method."""
    compare: Annotated[Sequence[str] | None, Option()]
    """Run these methods and print a table of their results; store nothing."""
    json: Annotated[str | None, Option(kind="path")]
    """With --compare: write one object per method to this file."""
    plot: Annotated[str | None, Option(kind="path")]
    """With --compare: draw a PNG."""
    force: Annotated[bool, Option(False)]
    """Replace OUT if it exists."""


class LoadOptions(TypedDict):
    """Of ``load``."""

    method: Annotated[str, Option("auto")]
    """The partitioner, for instance metis or hash, of a graph that is not a store."""
    num_clusters: Annotated[int | None, Option(shown="64", least=1)]
    """Clusters of nodes, which are joined to parts later."""
    seed: Annotated[int, Option(0, least=0)]
    """Of the partitioner, and of --split and --per-class."""
    split: Annotated[str | None, Option(metavar="TRAIN/VAL/TEST")]
    """Draw the splits: shares of the nodes with a label, as in 60/20/20."""
    per_class: Annotated[int | None, Option(least=1, metavar="N")]
    """Draw N training nodes of each class; validate with half of the others, test with
    the rest."""
    no_links: Annotated[bool, Option(False)]
    """Leave out the relationships, which only people's own queries use."""
    force: Annotated[bool, Option(False)]
    """Replace TARGET if it exists."""


class ExportOptions(TypedDict):
    """Of ``export``."""

    force: Annotated[bool, Option(False)]
    """Replace OUT if it exists."""


class GenerateOptions(TypedDict):
    """Of ``generate``."""

    num_nodes: Annotated[int, Option(least=1, formerly="nodes")]
    """A power of 2 for rmat."""
    num_edges: Annotated[int, Option(least=1, formerly="edges")]
    """Undirected edges."""
    num_classes: Annotated[int | None, Option(shown="10", least=1, formerly="classes")]
    """Number of classes."""
    num_features: Annotated[
        int | None, Option(shown="32", least=0, formerly="features")
    ]
    """Features per node."""
    method: Annotated[str, Option("auto")]
    """The partitioner."""
    num_clusters: Annotated[int | None, Option(shown="64", least=1)]
    """Clusters of nodes."""
    seed: Annotated[int, Option(0, least=0)]
    """Seed of the graph and of the partitioner."""
    num_parts: Annotated[int, Option(2, least=1)]
    """Number of parts for the quality report."""
    feature_dtype: Annotated[FeatureType, Option("float32")]
    """Type that features are rounded to and stored as."""
    memory_limit: Annotated[str | None, Option(shown="4 GiB")]
    """Memory for generating with --out-of-core, of all processes together."""
    force: Annotated[bool, Option(False)]
    """Replace OUT if it exists."""


class InfoOptions(TypedDict):
    """Of ``info``."""

    num_parts: Annotated[int | None, Option(shown="workers, or 2", least=1)]
    as_json: Annotated[bool, Option(False)]
    """Print one JSON object."""
    validate: Annotated[bool, Option(False)]
    """Read everything and check the store."""
    workers: Annotated[int | None, Option(least=0, shown="no plan")]
    """Plan the memory of training on N workers; 0 = no cluster."""
    num_neighbors: Annotated[Sequence[int], Option("15,10")]
    """Fan-outs for that plan, and for the estimate of traffic."""
    batch_size: Annotated[int, Option(1024, least=1)]
    hidden_channels: Annotated[int, Option(128, least=1)]
    features: Annotated[Literal["auto", "memory", "disk"], Option("auto")]
    """Where feature rows are kept in that plan."""
    feature_dtype: Annotated[FeatureType | None, Option(shown="as stored")]
    """Type of features in that plan."""
    memory_limit: Annotated[str | None, Option(shown="an equal share")]
    """Memory limit of each worker in that plan."""


class ChaosOptions(TypedDict):
    """Of ``chaos``, beside its cluster."""

    kill_every: Annotated[float, Option(5.0, above=0.0, metavar="SECONDS")]
    """Mean seconds between kills, which come at random times."""
    kill: Annotated[Literal["workers", "scheduler", "both"], Option("workers")]
    """What to kill; a scheduler only without --scheduler."""
    epochs: Annotated[int, Option(3, least=1)]
    num_parts: Annotated[int | None, Option(least=1)]
    """Number of parts."""
    batch_size: Annotated[int | None, Option(least=1)]
    """Seeds per step, over all parts."""
    seed: Annotated[int, Option(0, least=0)]


class OutputOptions(TypedDict):
    """Of ``chaos``: what stays of it."""

    out: Annotated[str | None, Option(kind="path")]
    """Keep both runs in this directory."""
    as_json: Annotated[bool, Option(False)]
    """Print one JSON object."""


class DoctorOptions(TypedDict):
    """Of ``doctor``."""

    scheduler: Annotated[str | None, Option(shown="this machine alone")]
    """Address of the cluster to check, as in tcp://HOST:8786."""
    store: Annotated[str | None, Option(kind="path")]
    """A store, or another path, that every worker has to see."""
    as_json: Annotated[bool, Option(False)]
    """Print one JSON object."""


class EvaluateOptions(TypedDict):
    """Of ``evaluate``."""

    split: Annotated[Split, Option("test")]
    """Whose nodes are scored."""
    metric: Annotated[Sequence[str] | None, Option(kind="names", shown="the run's")]
    """Scores to compute: accuracy, f1_micro, f1_macro, roc_auc, average_precision."""
    per_class: Annotated[bool, Option(False)]
    """Add precision, recall and F1 of each class."""


class VisionEvaluateOptions(TypedDict):
    """Of ``vision evaluate``."""

    split: Annotated[Split, Option("test")]
    """Images to score."""


class PredictOptions(TypedDict):
    """Of ``predict``."""

    out: Annotated[str, Option(kind="path")]
    """x.zarr or x.parquet."""
    nodes: Annotated[str | None, Option(shown="all", metavar="NODES")]
    """A split (train, val, test), ids with commas between them, or @FILE with an id a
    line."""


class PlotOptions(TypedDict):
    """Of ``plot``."""

    out: Annotated[str, Option("runs.png", kind="path")]
    """PNG, SVG or PDF to write."""


class CommandOptions(TypedDict):
    """Of ``train``: how it is called, which is no setting of a run."""

    config: Annotated[str | None, Option(kind="path", metavar="FILE")]
    """File with settings: YAML, JSON, or the run.json of a run."""
    resume: Annotated[str | None, Option(kind="path", metavar="DIR")]
    """Continue the run in DIR."""
    profile: Annotated[bool, Option(False)]
    """Print and draw where the time of a step went."""
    reconnect_timeout: Annotated[
        float | None, Option(least=0.0, metavar="SECONDS", shown="60")
    ]
    """How long to wait if the scheduler is lost."""
    log_format: Annotated[
        Literal["text", "json"] | None, Option(shown="text, with --log-level")
    ]
    """Write a record for every event of the run to standard error."""
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"] | None,
        Option(shown="info, with --log-format"),
    ]
    """The least that is written; debug has every exchange, batch and update."""


class ReaderOptions(TypedDict):
    """Of commands that read files: what their readers take."""

    directed: Annotated[bool, Option(False)]
    """Files only: keep directions."""
    self_loops: Annotated[Literal["drop", "keep"] | None, Option(shown="drop")]
    """Files only."""
    ids: Annotated[Literal["auto", "keep", "map"] | None, Option(shown="auto")]
    """Files: are ids 0..N-1 (keep), or anything (map)?"""
    source: Annotated[str | None, Option(shown="the first")]
    """Column with an edge's source, in edge files."""
    destination: Annotated[str | None, Option(shown="the second")]
    """Column with its destination."""
    weight: Annotated[str | None, Option()]
    """Column with its weight."""
    nodes: Annotated[str | None, Option()]
    """Parquet or CSV table of nodes, for edge files."""
    feature_columns: Annotated[
        str | None, Option(shown="all columns of numbers", formerly="features")
    ]
    """Feature columns of --nodes, as in a,b,c."""
    labels: Annotated[str | None, Option(shown="label, labels, y, class or target")]
    """Label column of --nodes."""
    split_index: Annotated[int | None, Option()]
    """Which split to take of an .npz whose masks hold several, from 0."""
    memory_limit: Annotated[str | None, Option(shown="1 GiB, or 4 GiB")]
    """Memory for reading a file, besides the graph; with --out-of-core for the whole
    preparation, of all processes together."""


class PreparingOptions(TypedDict):
    """Of commands that make a store, beside the cluster that helps them."""

    out_of_core: Annotated[bool, Option(False)]
    """For graphs larger than memory: keep edges in files next to OUT."""
    resume: Annotated[bool, Option(False)]
    """Continue an interrupted --out-of-core."""
