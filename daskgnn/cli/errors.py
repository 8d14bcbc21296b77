"""Errors on the command line: one line and an exit status."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Any, NoReturn

import click

from daskgnn.cli.pipes import unbroken_streams
from daskgnn.errors import DaskGNNError, InputError

if TYPE_CHECKING:
    from collections.abc import Callable

# Other OSErrors (a full disk, a lost connection) are failures of the run.
_FILE_ERRORS = (
    FileExistsError,
    FileNotFoundError,
    IsADirectoryError,
    NotADirectoryError,
    PermissionError,
)
_DEBUG = "daskgnn.debug"

INTERRUPTED, TERMINATED = 130, 143
"""The status of a run that the user has stopped, and of one that the system has."""


class FailedRun(click.ClickException):
    """One line for standard error, and the status: 1 for a run that began and failed.

    2 is for what the user can put right.
    """

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(" ".join(message.split()))
        self.exit_code = status  # type: ignore[misc]

    def show(self, file: Any = None) -> None:
        """Write the line, and nothing else."""
        click.echo(f"daskgnn: {self.format_message()}", file=file, err=file is None)


def explain(error: Exception) -> FailedRun:
    """Return the line and the status that stand for an error.

    Parameters
    ----------
    error : Exception
        Anything that a command raised.

    Returns
    -------
    FailedRun
        Status 2 where the user can put it right, 1 where the run failed.
    """
    if isinstance(error, FailedRun):
        return error
    if isinstance(error, click.ClickException):
        return FailedRun(_usage(error), 2)
    if isinstance(error, InputError):
        return FailedRun(str(error), 2)
    if isinstance(error, _FILE_ERRORS):
        return FailedRun(_file(error), 2)
    if isinstance(error, DaskGNNError):
        return FailedRun(str(error))
    text = str(error).strip().splitlines() or ["no message"]
    return FailedRun(f"{type(error).__name__}: {text[0]} (--debug shows where)")


def _usage(error: click.ClickException) -> str:
    """Return what was wrong with the words of the command, and where to look."""
    message = error.format_message().rstrip(".")
    message = message.replace("valid integer range", "whole number")
    message = message.replace("valid float range", "number")
    context = getattr(error, "ctx", None)
    return f"{message} (see {context.command_path} --help)" if context else message


def _file(error: OSError) -> str:
    """Return a file error with the name of the file."""
    name = f"{error.filename}: " if error.filename else ""
    return f"{name}{error.strerror or error}"


class OneLineGroup(click.Group):
    """A group that turns whatever its commands raise into one line.

    It does so itself, and not in ``main``, so that ``dask gnn`` behaves alike.
    """

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """Parse the group's own options."""
        try:
            return super().make_context(info_name, args, parent, **extra)
        except click.exceptions.NoArgsIsHelpError:
            raise
        except click.ClickException as error:
            raise explain(error) from None

    def invoke(self, ctx: click.Context) -> Any:
        """Parse and run the command that was named."""
        with unbroken_streams():
            return self._invoke(ctx)

    def _invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.exceptions.Exit, click.exceptions.NoArgsIsHelpError):
            raise
        except (KeyboardInterrupt, click.Abort) as error:
            raise FailedRun(str(error) or "interrupted", INTERRUPTED) from None
        except Exception as error:
            _stop(error, ctx)


def _stop(error: Exception, ctx: click.Context) -> NoReturn:
    """Raise the line that stands for an error, after its traceback if wanted."""
    if ctx.meta.get(_DEBUG):
        traceback.print_exception(error)
    raise explain(error) from None


def _remember(ctx: click.Context, _option: click.Parameter, given: bool) -> None:
    """Keep --debug where the group and its commands find it."""
    if given:
        ctx.meta[_DEBUG] = True


def is_debugging(ctx: click.Context) -> bool:
    """Return whether --debug was given."""
    return bool(ctx.meta.get(_DEBUG))


def debug_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --debug to a command."""
    return click.option(
        "--debug",
        is_flag=True,
        expose_value=False,
        callback=_remember,
        help="Show tracebacks, and what Dask logs.",
    )(command)
