"""Train twice, once with workers or schedulers killed, and compare the results."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from daskgnn.errors import ClusterError, InputError
from daskgnn.train.persist.recorder import Silent
from daskgnn.train.persist.storage import open_storage
from daskgnn.train.run import RunOptions, train

if TYPE_CHECKING:
    from daskgnn.train.persist.recorder import Progress

Record = dict[str, Any]


VICTIMS = ("workers", "scheduler", "both")
"""What can be killed."""

_SCHEDULER = ""
"""The name of the scheduler among victims."""


@dataclass(frozen=True, repr=False)
class ChaosReport:
    """Results of two runs that differ only in killed processes.

    ``print(report)`` shows all of it.
    """

    undisturbed: str
    """``params_sha256``."""
    disturbed: str
    kills: int
    """Of workers."""
    lost: int
    """Workers whose loss the disturbed run has noticed."""
    recovered: int
    """Workers whose loss it has recovered from."""
    scheduler_kills: int
    schedulers_lost: int
    schedulers_recovered: int
    steps: int
    steps_redone: int
    longest_recovery: float
    """Seconds."""
    seconds: tuple[float, float]
    """Of the undisturbed and of the disturbed run's training."""

    @property
    def equal(self) -> bool:
        """Whether the kills changed no bit."""
        return self.undisturbed == self.disturbed

    def __repr__(self) -> str:
        """Return one line: whether the kills changed a bit, and how many there were."""
        return (
            f"ChaosReport({'equal' if self.equal else 'NOT equal'}, {self.kills} "
            f"workers and {self.scheduler_kills} schedulers killed)"
        )

    def __str__(self) -> str:
        """Return both hashes, and what happened."""
        alone, disturbed = self.seconds
        lines = {
            "undisturbed": self.undisturbed,
            "disturbed": self.disturbed,
            "equal": "yes" if self.equal else "NO",
            "kills": f"{self.kills} of workers ({self.lost} noticed), "
            f"{self.scheduler_kills} of schedulers",
            "recovered": f"{self.recovered} workers, {self.schedulers_recovered} "
            f"schedulers, within {self.longest_recovery:.1f} s",
            "steps redone": f"{self.steps_redone} of {self.steps}",
            "seconds": f"{alone:.1f} undisturbed, {disturbed:.1f} disturbed",
        }
        return "\n".join(f"{name:14} {value}" for name, value in lines.items())


def chaos(
    given: RunOptions,
    kill_every: float,
    seed: int = 0,
    progress: Progress | None = None,
    kill: str = "workers",
) -> ChaosReport:
    """Train twice, once with workers or schedulers killed by SIGKILL, and compare.

    The times between kills are random, exponentially distributed. A first kill comes
    after a random step before the last epoch, however short the run is; of "both" it
    is the scheduler's, and a victim is chosen among all after that.

    Parameters
    ----------
    given : RunOptions
        ``out`` is a directory for both runs.
    kill_every : float
        Mean seconds between kills.
    seed : int
        Of the times and of the choice of victims.
    kill : {"workers", "scheduler", "both"}
        Schedulers only of a cluster that is started here, since they are replaced.

    Raises
    ------
    ClusterError
        If a worker has no nanny that would start another in its place.
    InputError
        If `kill` is none of them, or names the scheduler of another's cluster.
    """
    check_victims(kill, given.get("scheduler"))
    undisturbed, disturbed = (
        open_storage(given["out"] or ".").path_of(name)
        for name in ("undisturbed", "disturbed")
    )
    progress = progress or Silent()
    if given.get("workers") is None and given.get("scheduler") is None:
        given = {**given, "workers": 2}
    watch = Watch(progress)
    first = train({**given, "out": undisturbed}, progress=watch)
    killer = Killer(kill_every, seed, progress, kill)
    try:
        second = train({**given, "out": disturbed}, progress=killer)
    finally:
        killer.stop()
    recovered = killer.told("recovered")
    return ChaosReport(
        first["params_sha256"],
        second["params_sha256"],
        killer.kills,
        len(killer.told("worker_lost")),
        sum(event["workers"] for event in recovered),
        killer.scheduler_kills,
        len(killer.told("scheduler_lost")),
        sum(event["schedulers"] for event in recovered),
        second["steps"],
        sum(event["steps_redone"] for event in recovered),
        max((event["seconds"] for event in recovered), default=0.0),
        (round(watch.seconds, 3), round(killer.seconds, 3)),
    )


def check_victims(kill: str, scheduler: str | None) -> None:
    """Make sure that what is to be killed can be.

    Raises
    ------
    InputError
    """
    if kill not in VICTIMS:
        raise InputError(f"kill={kill!r}, expected one of {', '.join(VICTIMS)}")
    if kill != "workers" and scheduler is not None:
        raise InputError(
            f"kill={kill!r} needs a cluster that is started here: the scheduler at "
            f"{scheduler} would not come back; omit scheduler=, or kill workers"
        )


@dataclass
class Watch:
    """A progress that measures the time from the first step to the last."""

    shown: Progress
    events: list[Record] = field(default_factory=list)
    seconds: float = 0.0
    _began: float = 0.0

    def started(self, info: Record) -> None:
        """Pass it on."""
        self._began = time.monotonic()
        self.shown.started(info)

    def step(self, record: Record) -> None:
        """Take the time."""
        self.seconds = time.monotonic() - self._began
        self.shown.step(record)

    def epoch(self, record: Record) -> None:
        """Pass it on."""
        self.shown.epoch(record)

    def event(self, record: Record) -> None:
        """Keep it."""
        self.events.append(record)
        self.shown.event(record)

    def finished(self, summary: Record) -> None:
        """Pass it on."""
        self.shown.finished(summary)

    def told(self, name: str) -> list[Record]:
        """Return the events of a name."""
        return [record for record in self.events if record["event"] == name]


class Killer(Watch):
    """A progress that kills random processes from the first step to the last."""

    def __init__(
        self, every: float, seed: int, shown: Progress, kill: str = "workers"
    ) -> None:
        super().__init__(shown)
        self.kills = self.scheduler_kills = 0
        self._every = every
        self._random = random.Random(seed)
        self._kind = kill
        self._first_step = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._kill_on, daemon=True)
        self._client: Any = None

    def started(self, info: Record) -> None:
        """Choose the first victim's step."""
        super().started(info)
        before_last = info["total_steps"] - info["steps_per_epoch"]
        self._first_step = self._random.randrange(max(before_last, 1))
        self._client = _another_client()

    def step(self, record: Record) -> None:
        """Begin after the step that was chosen."""
        super().step(record)
        if record["step"] == self._first_step:
            self._kill_one()
            self._thread.start()

    def finished(self, summary: Record) -> None:
        """Leave the cluster alone."""
        self.stop()
        super().finished(summary)

    def stop(self) -> None:
        """End; again is harmless."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join(30)
        if self._client is not None:
            self._client.close(5)

    def _kill_on(self) -> None:
        while not self._over.wait(self._random.expovariate(1 / self._every)):
            self._kill_one()

    def _kill_one(self) -> None:
        """Kill a random victim, if there is one: a cluster may just be starting."""
        try:
            self._client = _current(self._client)
            victim = self._choose()
            if victim == _SCHEDULER:
                os.kill(self._client.run_on_scheduler(os.getpid), signal.SIGKILL)
                self.scheduler_kills += 1
            elif victim is not None:
                # What a worker has already unpickled is cached: nothing is imported.
                self._client.run(
                    signal.raise_signal,
                    signal.SIGKILL,
                    workers=[victim],
                    on_error="ignore",
                )
                self.kills += 1
        except (OSError, TimeoutError, CancelledError, RuntimeError, ValueError):
            return  # the scheduler has gone meanwhile

    def _choose(self) -> str | None:
        """Return a victim's address; None if there is no victim."""
        first = not self.scheduler_kills
        if self._kind == "scheduler" or (self._kind == "both" and first):
            return _SCHEDULER
        known = self._client.scheduler_info(n_workers=-1)["workers"]
        names = {str(facts["name"]): address for address, facts in known.items()}
        if self._kind == "both":
            names[_SCHEDULER] = _SCHEDULER
        return names[self._random.choice(sorted(names))] if names else None


def _current(client: Any) -> Any:
    """Return a client of the cluster that the run uses now, `client` if it is one.

    Raises
    ------
    ValueError
        If there is none at the moment.
    """
    from distributed import default_client

    used = default_client()
    if used.status != "running":
        raise ValueError("the cluster is starting")
    if used.scheduler.address == client.scheduler.address:
        return client
    client.close(1)
    return _another_client()


def _another_client() -> Any:
    """Return a client of one's own of the cluster that the run uses.

    Raises
    ------
    ClusterError
        If a worker has no nanny.
    """
    from distributed import Client, default_client

    used = default_client()
    known = used.scheduler_info(n_workers=-1)["workers"]
    alone = sorted(address for address, facts in known.items() if not facts["nanny"])
    if alone:
        raise ClusterError(
            f"worker {alone[0]} has no nanny, so it would not be replaced: start "
            "workers without --no-nanny"
        )
    return Client(
        used.scheduler.address, security=used.security, set_as_default=False, timeout=30
    )
