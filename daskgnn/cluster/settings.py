"""Dask's settings as training needs them: of own clusters, and of others.

Dask's defaults are made for tasks that nothing waits for.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import dask
from dask.utils import parse_timedelta
from distributed import LocalCluster

from daskgnn.cluster.prefork import METHOD
from daskgnn.cluster.ready import importing
from daskgnn.config import variable_of

if TYPE_CHECKING:
    from collections.abc import Callable

OWN_CLUSTER = {
    # Parts are placed by us; a stolen task would move its block.
    "distributed.scheduler.work-stealing": False,
    # Blocks that others read in place count as replicas, which would be dropped.
    "distributed.scheduler.active-memory-manager.start": False,
    "distributed.scheduler.allowed-failures": 10,
    "distributed.scheduler.worker-ttl": "30s",
    "distributed.scheduler.no-workers-timeout": "60s",
    "distributed.comm.timeouts.tcp": "12s",
    # How long a worker tries to connect to one that has just died.
    "distributed.comm.timeouts.connect": "8s",
    # A spilled block is needed again for the next window, and takes its memory twice to
    # be written and read; a paused worker delays all others. What does not fit is
    # refused before a run.
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.profile.enabled": False,
    "distributed.worker.multiprocessing-method": METHOD,
}
"""Dask's configuration for clusters that the library starts."""


_OWN_ALONE = {"distributed.worker.multiprocessing-method"}
"""What suits only processes that the library starts."""
_PAGE = "docs/failure.md#dask-settings-for-your-own-cluster"
_SCHEDULER, _TIMEOUTS = "distributed.scheduler.", "distributed.comm.timeouts."


def recommended_config() -> dict[str, Any]:
    """Return the settings of Dask that suit training, for clusters of your own.

    Set them before the cluster is made. The commands ``daskgnn scheduler`` and
    ``daskgnn worker`` set them themselves.

    Returns
    -------
    dict
        For `dask.config.set`.

    Examples
    --------
    >>> import dask, daskgnn
    >>> from distributed import Client
    >>> with dask.config.set(daskgnn.recommended_config()):
    ...     print(dask.config.get("distributed.scheduler.worker-ttl"))
    30s
    """
    return {n: value for n, value in OWN_CLUSTER.items() if n not in _OWN_ALONE}


def setting_variables() -> dict[str, str]:
    """Return these settings as environment variables, but for those a user has set."""
    return {
        variable_of(name): str(value)
        for name, value in recommended_config().items()
        if not _is_given(name)
    }


def suit_settings(client: Any) -> None:
    """Set what makes the loss of a worker cheap, or warn of it in one line.

    It is set in a `LocalCluster` of this process, as far as its user has not set it and
    Dask can change it in a running cluster. Others belong to others, too.
    """
    wrong = unsuitable(client)
    if wrong and isinstance(client.cluster, LocalCluster):
        _set(client, [name for name in wrong if not _is_given(name)])
        wrong = unsuitable(client)
    if wrong:
        short = ", ".join(name.rpartition("distributed.")[2] for name in wrong)
        warnings.warn(
            f"the scheduler's settings make the loss of a worker costly ({short}): see "
            f"{_PAGE}",
            stacklevel=2,
        )


def unsuitable(client: Any) -> list[str]:
    """Return the names of the scheduler's settings that do not suit training.

    Raises
    ------
    ClusterError
        If daskgnn, or what it needs, is not installed where the scheduler runs.
    """
    with importing(client):
        found = client.run_on_scheduler(_settings)
    return [name for name, is_bad in _WORSE.items() if is_bad(found.get(name))]


def _is_given(name: str) -> bool:
    """Return whether a setting is other than Dask's default."""
    default = dask.config.get(
        name, None, config=dask.config.merge(*dask.config.defaults)
    )
    return bool(dask.config.get(name, None) != default)


def _set(client: Any, names: list[str]) -> None:
    """Set some settings in a running cluster, its workers, and this process."""
    wanted = {name: OWN_CLUSTER[name] for name in names}
    timeouts = {n: v for n, v in wanted.items() if n.startswith(_TIMEOUTS)}
    if timeouts:
        _set_here(timeouts)
        client.run(_set_here, timeouts, on_error="ignore")
    client.run_on_scheduler(_change, wanted)


def _set_here(settings: dict[str, Any]) -> None:
    """Change this process's configuration."""
    dask.config.set(settings)


async def _change(settings: dict[str, Any], dask_scheduler: Any) -> None:
    """Change a running scheduler."""
    name = _SCHEDULER + "worker-ttl"
    watch = dask_scheduler.periodic_callbacks.get("worker-ttl")
    if name in settings and watch is not None:
        dask_scheduler.worker_ttl = parse_timedelta(settings[name])
        watch.stop()
        watch.callback_time = 1000 * dask_scheduler.worker_ttl
        watch.start()
    name = _SCHEDULER + "allowed-failures"
    if name in settings:
        dask_scheduler.allowed_failures = settings[name]
    name = _SCHEDULER + "no-workers-timeout"
    if name in settings:
        dask_scheduler.no_workers_timeout = parse_timedelta(settings[name])
    if _SCHEDULER + "work-stealing" in settings:
        await dask_scheduler.extensions["stealing"].stop()


def _settings(dask_scheduler: Any) -> dict[str, Any]:
    """Return the settings by which a scheduler works now."""
    return {
        _SCHEDULER + "worker-ttl": dask_scheduler.worker_ttl,
        _SCHEDULER + "allowed-failures": dask_scheduler.allowed_failures,
        _SCHEDULER + "no-workers-timeout": dask_scheduler.no_workers_timeout,
        _SCHEDULER + "work-stealing": "stealing" in dask_scheduler.periodic_callbacks,
        **{
            name: dask.config.get(name, None)
            for name in _WORSE
            if name.startswith(_TIMEOUTS)
        },
    }


def _slower_than(limit: float) -> Callable[[Any], bool]:
    return lambda found: found is None or parse_timedelta(found) > limit


_WORSE: dict[str, Callable[[Any], bool]] = {
    # A worker that hangs would be noticed late.
    _SCHEDULER + "worker-ttl": _slower_than(60),
    # A few lost workers would end the run.
    _SCHEDULER + "allowed-failures": lambda found: int(found) < 10,
    # Arrays made of predictions would wait for a worker for ever.
    _SCHEDULER + "no-workers-timeout": lambda found: found is None,
    # Tasks might run away from their part's data, which is slow.
    _SCHEDULER + "work-stealing": bool,
    # A cut network would be noticed late.
    _TIMEOUTS + "tcp": _slower_than(15),
    # Connecting to a dead worker would be tried for long.
    _TIMEOUTS + "connect": _slower_than(15),
}
"""What settings may not be."""
