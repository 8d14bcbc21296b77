"""The documentation of options: a signature, docstring entries and a page."""

from __future__ import annotations

import inspect
import textwrap
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ForwardRef, TypeVar

from daskgnn.train.options.options import RUN, TRAINER
from daskgnn.train.options.plainoptions import GROUPS
from daskgnn.train.options.visionoptions import RESULT, VISION

if TYPE_CHECKING:
    from collections.abc import Mapping

    from daskgnn.train.options.option import Option

_PAGE = """# Options

Every setting of `daskgnn.Trainer(model, graph, batch_size=512, ...)`, of
`daskgnn train GRAPH --batch-size 512 ...`, and of the file that
`daskgnn train --config FILE` reads (where names may have hyphens or underscores).

The column *where* says who takes an option: `both`; only the `command`, because in
Python you make the graph, the model and the client yourself; or only the trainer
(`Python`).

*Fixed* marks the options that decide a run's result. To resume a run in Python, make
the trainer with the same values for them; the others may be changed.
`daskgnn train --resume` needs no options: it reads all of them from the run, and takes
its graph as it was stored, so options such as `num_clusters`, `method` or `split` have
no effect any more. Of these options it accepts only `epochs`, `patience`, `data_dir`
and, under *Cluster*, all but `standby` and `adapt`.

`daskgnn train --help` also lists options that only say how the command behaves, such as
`--profile`, `--log-format` and `--reconnect-timeout`. They are not on this page.

The options under *Gradients* are explained in [combining gradients](gradients.md).
Those of `daskgnn vision train` are [below](#vision).

This page is generated from the declaration of the options by `make options`.
"""

_VISION = """## Vision

Settings of `daskgnn vision train DATA --model vig-mini ...` and of
`daskgnn.vision.train({"data": ..., "model": ..., ...})`.
"""

Class = TypeVar("Class", bound=type)


def documented(cls: Class) -> Class:
    """Give a class the trainer's options, by its signature and its docstring.

    ``__init__`` takes them as ``**options``; what the docstring says of parameters
    goes on with them.
    """
    init = cls.__init__  # type: ignore[misc]
    signature = inspect.signature(init)
    own = list(signature.parameters.values())[:-1]
    taken = [_parameter(name, option) for name, option in TRAINER.items()]
    init.__signature__ = signature.replace(parameters=[*own, *taken])
    if cls.__doc__ is not None:
        head, raises, tail = inspect.cleandoc(cls.__doc__).partition("\n\nRaises\n")
        cls.__doc__ = head + "\n" + parameters(TRAINER) + raises + tail
    return cls


def _parameter(name: str, option: Option) -> inspect.Parameter:
    kind = option.annotation
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=option.default,
        annotation=kind.__forward_arg__ if isinstance(kind, ForwardRef) else kind,
    )


def parameters(options: Mapping[str, Option]) -> str:
    """Return a docstring's entries about options."""
    entries = []
    for name, option in options.items():
        text = textwrap.fill(f"{option.help} {option.notes}".strip(), 84)
        told = f"default {option.default!r}" if option.default is not None else ""
        told = ", ".join(filter(None, [option.type_name, told or "optional"]))
        entries.append(f"{name} : {told}\n{textwrap.indent(text, '    ')}")
    return "\n".join(entries)


def page() -> str:
    """Return docs/options.md."""
    parts = [_PAGE]
    for group in GROUPS:
        rows = [
            _row(name, option, where)
            for options, where in _places()
            for name, option in options.items()
            if option.group == group
        ]
        head = "| option | type | default | where | fixed | what it is |\n"
        head += "| --- " * 6 + "|"
        parts.append("\n".join([f"## {group}\n", head, *rows]) + "\n")
    return "\n".join([*parts, _vision()])


def _vision() -> str:
    """Return the section about runs over images."""
    head = "| option | type | default | fixed | what it is |\n" + "| --- " * 5 + "|"
    rows = [
        _row(name, replace(option, fact=name in RESULT), None)
        for name, option in VISION.items()
    ]
    return "\n".join([_VISION, head, *rows]) + "\n"


def _places() -> list[tuple[dict[str, Option], str]]:
    """Return options of both, of runs alone, and of trainers alone."""
    both = {n: o for n, o in TRAINER.items() if n in RUN}
    runs = {n: o for n, o in RUN.items() if n not in TRAINER}
    python = {n: o for n, o in TRAINER.items() if n not in RUN}
    return [(both, "both"), (runs, "command"), (python, "Python")]


def _row(name: str, option: Option, where: str | None) -> str:
    cells: list[Any] = [
        f"`{name}`",
        option.type_name.replace('"', "`"),
        option.shown or ("none" if option.default is None else f"`{option.default}`"),
        *([] if where is None else [where]),
        "yes" if option.fact else "",
        f"{option.help} {option.notes}".strip().replace("``", "`"),
    ]
    return f"| {' | '.join(cells)} |"
