"""The commands ``scheduler`` and ``worker``: Dask's own, with the right settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from daskgnn.cli.errors import debug_option
from daskgnn.cli.options import certificate_options

if TYPE_CHECKING:
    from typing import NoReturn

_AS_DASK = {"ignore_unknown_options": True}
_words = click.argument("words", nargs=-1, type=click.UNPROCESSED)


@click.command(context_settings=_AS_DASK)
@_words
@certificate_options
@debug_option
def scheduler(words: tuple[str, ...], **certificates: Any) -> NoReturn:
    """Start a Dask scheduler with the settings that suit training.

    It takes all that "dask scheduler" takes: --host, --port, --dashboard-address, ...
    What you have set of Dask's configuration or the environment stays.
    """
    if not (any(certificates.values()) or "--host" in " ".join(words)):
        click.echo(
            "daskgnn: whoever reaches this scheduler can run code on it: keep its "
            "network private, or give --host and the --tls options",
            err=True,
        )
    _serve("scheduler", words, certificates)


@click.command(context_settings=_AS_DASK)
@_words
@certificate_options
@debug_option
def worker(words: tuple[str, ...], **certificates: Any) -> NoReturn:
    """Start a Dask worker with the settings that suit training.

    WORDS begin with the scheduler's address, as in tcp://HOST:8786. It takes all that
    "dask worker" takes: --nthreads (here 2), --memory-limit, --lifetime, ... It keeps
    freed memory, computes with one thread a task, and ends if it finds no scheduler
    within --death-timeout (here 60 s).
    """
    _serve("worker", words, certificates)


def _serve(kind: str, words: tuple[str, ...], certificates: dict[str, Any]) -> NoReturn:
    from daskgnn.cluster.serving import serve
    from daskgnn.cluster.tls import Encryption

    serve(kind, words, Encryption.of(certificates))
