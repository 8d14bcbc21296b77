"""Errors on the command line: one line and an exit status."""

from __future__ import annotations

import re
import shlex
import traceback
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, NoReturn

import click

from daskgnn.cli.pipes import unbroken_streams
from daskgnn.errors import DaskGNNError, InputError
from daskgnn.train.options.absent import instead_of

if TYPE_CHECKING:
    from collections.abc import Mapping

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


def explain(error: Exception, flags: Mapping[str, str] | None = None) -> FailedRun:
    """Return the line and the status that stand for an error.

    Parameters
    ----------
    error : Exception
        Anything that a command raised.
    flags : dict, optional
        How the command's settings are written, by their names in Python.

    Returns
    -------
    FailedRun
        Status 2 where the user can put it right, 1 where the run failed.
    """
    if isinstance(error, FailedRun):
        return error
    if isinstance(error, click.ClickException):
        return FailedRun(_usage(error), 2)
    if isinstance(error, DaskGNNError) and error.in_file:
        flags = None
    if isinstance(error, InputError):
        return FailedRun(in_shell(error, flags or {}), 2)
    if isinstance(error, _FILE_ERRORS):
        return FailedRun(_file(error), 2)
    if isinstance(error, DaskGNNError):
        return FailedRun(in_shell(error, flags or {}))
    text = str(error).strip().splitlines() or ["no message"]
    return FailedRun(f"{type(error).__name__}: {text[0]} (--debug shows where)")


_SETTING = re.compile(
    r"(?<![\w(.-])([a-z][a-z_]*)="
    r"(\[[^]]*\]|\([^)]*\)|'[^']*'|[\w+/-]+(?:\.[\w+/-]+)*|(?=[\s,:;]|$))"
)
"""A setting as Python has it: ``name=value``."""
_CALL = re.compile(r"\w\([^()]*$")
"""What stands before an argument of a call."""


def in_shell(said: DaskGNNError | str, flags: Mapping[str, str]) -> str:
    """Return an error's line, or another, with settings as a shell has them.

    Examples
    --------
    >>> in_shell(InputError("give num_neighbors=[15, 10]"), {"num_neighbors": "--n"})
    'give --n 15,10'
    """
    text = said if isinstance(said, str) else said.in_shell

    def written(found: re.Match[str]) -> str:
        name, value = found[1], found[2]
        if name not in flags or _CALL.search(found.string[: found.start()]):
            return found[0]
        value = value.strip("[]()'").replace(", ", ",")
        if value in ("", "True"):
            return flags[name]
        return f"{flags[name]} {shlex.quote(value)}"

    return _SETTING.sub(written, text)


def _usage(error: click.ClickException) -> str:
    """Return what was wrong with the words of the command, and where to look."""
    message = error.format_message().rstrip(".")
    message = message.replace("valid integer range", "whole number")
    message = message.replace("valid float range", "number")
    context = getattr(error, "ctx", None)
    if isinstance(error, click.NoSuchOption):
        instead = instead_of(error.option_name, "shell")
        message = f"{message}: {instead}" if instead else message
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

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that was named; of a wrong name, name the nearest."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            near = get_close_matches(args[0], self.list_commands(ctx), 1)
            if near:
                said = error.message.rstrip(".")
                raise click.UsageError(
                    f"{said}: did you mean {near[0]}?", ctx
                ) from None
            raise

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
    if is_debugging(ctx):
        traceback.print_exception(error)
    group, name = ctx.command, ctx.invoked_subcommand or ""
    command = group.get_command(ctx, name) if isinstance(group, click.Group) else None
    raise explain(error, flags_of(command)) from None


def flags_of(command: click.Command | None) -> dict[str, str]:
    """Return how a command's settings are written, by their names in Python."""
    flags = {}
    for parameter in command.params if command else ():
        if isinstance(parameter, click.Option) and parameter.name:
            flags[getattr(parameter, "setting", parameter.name)] = parameter.opts[0]
    return flags


def _remember(ctx: click.Context, _option: click.Parameter, given: bool) -> None:
    """Keep --debug where the group and its commands find it."""
    if given:
        ctx.meta[_DEBUG] = True


def is_debugging(ctx: click.Context) -> bool:
    """Return whether --debug was given."""
    return bool(ctx.meta.get(_DEBUG))


debug_option = click.option(
    "--debug",
    is_flag=True,
    expose_value=False,
    callback=_remember,
    help="Show tracebacks, and what Dask logs.",
)
"""Adds --debug to a command."""
