"""Start a scheduler or a worker by Dask's own commands, set as training needs them.

The number of a process's heaps is settled when it begins, so the command takes this
process's place with another environment.
"""

from __future__ import annotations

import os
import sys
from difflib import get_close_matches
from importlib import import_module
from typing import TYPE_CHECKING, Any

import dask
from dask.utils import parse_timedelta

from daskgnn.cluster.clusters import THREADS_PER_WORKER, await_scheduler
from daskgnn.cluster.prefork import worker_environment
from daskgnn.cluster.settings import setting_variables
from daskgnn.cluster.tls import FILES, Encryption
from daskgnn.config import variable_of
from daskgnn.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

WAIT_SECONDS = 60
"""How long a worker waits for its scheduler."""

DEFAULTS = {
    "scheduler": [],
    "worker": [
        *("--nthreads", str(THREADS_PER_WORKER)),
        *("--death-timeout", str(WAIT_SECONDS)),
    ],
}
"""Words that go before those that were given."""


def serve(
    kind: str, words: Sequence[str], encryption: Encryption | None = None
) -> NoReturn:
    """Become a scheduler or a worker.

    Parameters
    ----------
    kind : {"scheduler", "worker"}
    words : sequence of str
        What Dask's command is given: ``dask scheduler --help``, ``dask worker --help``.
    encryption : Encryption, optional
        Certificates.

    Raises
    ------
    InputError
        If Dask does not know a word, or certificates do not go together.
    ClusterError
        If a worker finds no scheduler in time.
    """
    encryption = encryption or Encryption()
    encryption.check(None)
    files = {name: getattr(encryption, name) for name in FILES}
    given = [*DEFAULTS[kind], *words]
    for name, file in files.items():
        given += [f"--{name.replace('_', '-')}", file] if file else []
    options = parsed(kind, given)
    address = None
    if kind == "worker":
        address = options["scheduler"] or dask.config.get("scheduler-address", None)
    with encryption.configured(address):
        if address is not None:
            await_scheduler(address, parse_timedelta(options["death_timeout"]))
    settings = environment_of(encrypted=bool(encryption))
    program = [sys.executable, "-m", f"distributed.cli.dask_{kind}"]
    os.execve(program[0], [*program, *given], settings | os.environ)


def parsed(kind: str, words: Sequence[str]) -> dict[str, Any]:
    """Return what Dask's command makes of words.

    Raises
    ------
    InputError
        If it does not know one: by itself it would ignore that.
    """
    command = import_module(f"distributed.cli.dask_{kind}").main
    known = [n for o in command.params for n in [*o.opts, *o.secondary_opts]]
    for word in words:
        name = word.partition("=")[0]
        if name.startswith("--") and name not in known:
            near = get_close_matches(name, known, n=1)
            instead = f"did you mean {near[0]}? " if near else ""
            raise InputError(f"no option {name}: {instead}see the help of dask {kind}")
    return dict(command.make_context(f"dask {kind}", list(words)).params)


def environment_of(*, encrypted: bool = False) -> dict[str, str]:
    """Return the environment variables of a scheduler or worker for training.

    Memory that is freed is kept, libraries compute with one thread, and Dask has the
    settings of `recommended_config` where its user has set no others.
    """
    found = worker_environment() | setting_variables()
    if encrypted:
        found[variable_of("distributed.comm.require-encryption")] = "True"
    return found
