"""The errors a user can meet: one typed, one-line message each."""


def first_line(error: object) -> str:
    """Return the first line of an error's text, or its kind where it has none."""
    return (str(error).splitlines() or [type(error).__name__])[0]


class DaskGNNError(Exception):
    """Base of every error that daskgnn raises on purpose."""


class InputError(DaskGNNError, ValueError):
    """Something the user gave cannot be used (exit status 2)."""


class GraphFormatError(InputError):
    """Arrays or files that do not describe a graph."""


class DatasetError(InputError):
    """A data set that is unknown, missing or damaged."""


class PartitionError(InputError):
    """A partition that cannot be made or opened as asked."""


class StoreError(InputError):
    """A stored graph that is damaged, incomplete or of another format."""


class ModelError(InputError):
    """A model that cannot be trained as it is."""


class CheckpointError(InputError):
    """A checkpoint that is missing, damaged or belongs to something else."""


class ClusterError(InputError):
    """A Dask cluster that cannot be reached or used."""


class TrainingError(DaskGNNError):
    """A run that began and failed (exit status 1)."""


class NoWorkerError(TrainingError):
    """A cluster whose workers are all gone, and none came back in time."""
