"""The errors that daskgnn raises: typed, with one-line messages."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

IN_PYTHON = ", or fit(epochs, resume=True)"
"""What a message says of a run that can be continued, but not in a shell."""


def first_line(error: object) -> str:
    """Return the first line of an error's text, or its kind where it has none."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def continued(error: DaskGNNError, kind: type[DaskGNNError], more: str) -> DaskGNNError:
    """Return an error of another kind that says the same, a semicolon, and more."""
    found = kind(f"{error}; {more}")
    found.in_shell = f"{error.in_shell}; {more}".replace(IN_PYTHON, "")
    return found


class DaskGNNError(Exception):
    """Base class of every error that daskgnn raises on purpose.

    Each has a message of one line: what was given, what was expected, and how to
    correct the call (`python`), or a command where that is something else (`shell`).

    Examples
    --------
    >>> import daskgnn
    >>> try:
    ...     daskgnn.load_dataset("karate").partition(1000)
    ... except daskgnn.DaskGNNError as error:
    ...     print(error)
    num_clusters=1000 for a graph of 34 nodes: give a number in 1..34
    """

    def __init__(self, message: object = "", *, python: str = "", shell: str = ""):
        # One argument, so that a pickled error is made again from its message.
        super().__init__(f"{message}: {python}" if python else f"{message}")
        told = f"{message}: {shell}" if shell else f"{self}"
        self.in_shell = told.replace(IN_PYTHON, "")
        """The line as the command line shows it."""
        self.in_file = False
        """Whether it speaks of settings as a configuration file has them."""


class InputError(DaskGNNError, ValueError):
    """An argument, file or option that cannot be used.

    The command line exits with status 2. It is a `ValueError` as well.

    Examples
    --------
    >>> import daskgnn
    >>> daskgnn.open_graph(7)
    Traceback (most recent call last):
        ...
    daskgnn.errors.InputError: open_graph got int, expected the path of a store, ...
    """


class GraphFormatError(InputError):
    """Arrays or files that do not describe a graph.

    Examples
    --------
    >>> import daskgnn
    >>> daskgnn.from_edge_index([[0, 1], [1, 5]], num_nodes=3)
    Traceback (most recent call last):
        ...
    daskgnn.errors.GraphFormatError: ...
    """


class DatasetError(InputError):
    """A data set that is unknown, missing or damaged.

    Examples
    --------
    >>> import daskgnn
    >>> daskgnn.load_dataset("karat")
    Traceback (most recent call last):
        ...
    daskgnn.errors.DatasetError: unknown data set 'karat': did you mean karate or ...
    """


class PartitionError(InputError):
    """A partition that cannot be made, or opened with the parts asked for.

    Examples
    --------
    >>> import daskgnn
    >>> daskgnn.load_dataset("karate").partition(method="metiss")
    Traceback (most recent call last):
        ...
    daskgnn.errors.PartitionError: unknown partition method 'metiss', ...
    """


class StoreError(InputError):
    """A stored graph that is missing, damaged, incomplete or of a newer format.

    Examples
    --------
    >>> import daskgnn
    >>> daskgnn.open_graph("nowhere.zarr")
    Traceback (most recent call last):
        ...
    daskgnn.errors.StoreError: ...
    """


class SourceAwayError(StoreError):
    """A server that holds a graph and does not answer.

    In a run it becomes a `TrainingError` that says how to resume.

    Examples
    --------
    >>> import daskgnn
    >>> from daskgnn.errors import SourceAwayError
    >>> issubclass(SourceAwayError, daskgnn.InputError)
    True
    """


class ModelError(InputError):
    """A model that cannot be trained as it is.

    Examples
    --------
    >>> import torch
    >>> from daskgnn.nn import check_model
    >>> check_model(torch.nn.Sequential(torch.nn.Linear(8, 2), torch.nn.Dropout(0.5)))
    Traceback (most recent call last):
        ...
    daskgnn.errors.ModelError: module '1' (Dropout) draws from torch's generator, ...
    """


class CheckpointError(InputError):
    """A checkpoint that is missing, damaged, or of another model, graph or run.

    Examples
    --------
    >>> import tempfile
    >>> from daskgnn.train.run import resume
    >>> resume(tempfile.mkdtemp())
    Traceback (most recent call last):
        ...
    daskgnn.errors.CheckpointError: ... holds no run (run.json cannot be read): ...
    """


class ClusterError(InputError):
    """A Dask cluster that cannot be reached or used.

    Examples
    --------
    Programs that train on a cluster can tell such an error from one of their input:

    >>> from daskgnn import InputError
    >>> from daskgnn.errors import ClusterError
    >>> issubclass(ClusterError, InputError)
    True
    """


class TrainingError(DaskGNNError):
    """A run that started and failed.

    The command line exits with status 1. Where checkpoints are written, the message
    says how to resume.

    Examples
    --------
    >>> import daskgnn
    >>> issubclass(daskgnn.TrainingError, daskgnn.InputError)
    False
    """


class NoWorkerError(TrainingError):
    """All workers of the cluster were lost and none came back in time.

    Examples
    --------
    >>> from daskgnn.errors import NoWorkerError, TrainingError
    >>> issubclass(NoWorkerError, TrainingError)
    True
    """


@contextmanager
def needing(package: str, what: str) -> Iterator[None]:
    """Say how to install a package if what is inside finds that it is missing.

    Parameters
    ----------
    package : str
        As pip knows it.
    what : str
        What needs it, as the beginning of a sentence.

    Raises
    ------
    InputError

    Examples
    --------
    >>> with needing("nonesuch", "this line"):
    ...     import nonesuch
    Traceback (most recent call last):
        ...
    daskgnn.errors.InputError: this line needs nonesuch: pip install nonesuch
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise InputError(f"{what} needs {package}: pip install {package}") from error
