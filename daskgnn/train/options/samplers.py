"""Samplers by name, with options: ``labor``, ``ladies:size=512``, ``saint:kind=walk``.

Nothing heavy is imported before a sampler is made.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

from daskgnn.errors import InputError
from daskgnn.train.options.option import nearest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from daskgnn.sampling import Sampler


@dataclass(frozen=True)
class KnownSampler:
    """A sampler that has a name."""

    module: str
    """In `daskgnn.sampling`."""
    kind: str
    """Its class."""
    draws: str
    """What it draws, in a few words."""
    use: str
    """When to use it."""
    keeps: str
    """On what its results depend, besides the seed."""
    takes_fan_outs: bool = False
    """Whether it takes `num_neighbors`."""
    chooses_seeds: bool = False
    """Whether it says itself which nodes a step trains on, and ignores `batch_size`."""
    absent: dict[str, str] = field(default_factory=dict)
    """What is used for options whose default is None."""

    def load(self) -> type[Sampler]:
        """Return the class."""
        module = import_module(f"daskgnn.sampling.{self.module}")
        found: type[Sampler] = getattr(module, self.kind)
        return found


SAMPLERS: dict[str, KnownSampler] = {
    "neighbor": KnownSampler(
        "neighbor",
        "NeighborSampler",
        "a number of neighbours of each node, hop by hop",
        "first: it always works",
        "nothing else",
        takes_fan_outs=True,
    ),
    "labor": KnownSampler(
        "labor",
        "LaborSampler",
        "that number on average, the same neighbours where it can",
        "for large graphs: fewer distinct nodes, so fewer rows to fetch",
        "nothing else (variant=0); order of the partition (others)",
        takes_fan_outs=True,
        absent={"iterations": "1 (variant=i)"},
    ),
    "fastgcn": KnownSampler(
        "fastgcn",
        "FastGCNSampler",
        "a number of nodes a layer, by fixed probabilities",
        "for many layers, where all nodes are alike",
        "order of the partition (form=replacement)",
    ),
    "ladies": KnownSampler(
        "ladies",
        "LadiesSampler",
        "a number of nodes a layer, among the neighbours of the one before",
        "for many layers: the work grows with their number alone",
        "order of the partition (form=replacement)",
    ),
    "saint": KnownSampler(
        "saint",
        "SaintSampler",
        "random walks, nodes or edges, and all edges between them",
        "for large graphs with many training nodes: any depth at the same cost",
        "order of the partition, subgraphs",
        chooses_seeds=True,
        absent={
            "size": "8000 (kind=node), 2000 (edge), more where few nodes train",
            "roots": "1000 (kind=walk), likewise",
            "length": "2 (kind=walk)",
            "subgraphs": "num_parts",
        },
    ),
    "cluster": KnownSampler(
        "cluster",
        "ClusterSampler",
        "whole clusters of the store, and the edges between them",
        "for large graphs with many training nodes: nothing is sent",
        "clusters, subgraphs",
        chooses_seeds=True,
        absent={
            "clusters": "an eighth of all, more where few nodes are for training",
            "subgraphs": "num_parts",
        },
    ),
    "shadow": KnownSampler(
        "shadow",
        "ShadowSampler",
        "a small subgraph for each seed",
        "for models with more layers than the seeds need hops",
        "nothing else",
        absent={"hops": "2 (4 with method=ppr)"},
    ),
}
"""By name."""


def chooses_seeds(sampler: Any) -> bool:
    """Return whether this is the name of a sampler that ignores the batch size.

    Raises
    ------
    InputError
        If it is a name that is not known.
    """
    return isinstance(sampler, str) and _known(parsed(sampler)[0]).chooses_seeds


def refuses_fan_outs(sampler: Any) -> bool:
    """Return whether this is the name of a sampler that takes no fan-outs.

    Raises
    ------
    InputError
        If it is a name that is not known.
    """
    named = isinstance(sampler, str)
    return named and not _known(parsed(sampler)[0]).takes_fan_outs


def checked(name: str, value: Any) -> Any:
    """Return an object, or a text whose name and options are known.

    Raises
    ------
    InputError
    """
    if isinstance(value, str):
        _checked_options(*parsed(value))
    return value


def parsed(text: str) -> tuple[str, dict[str, Any]]:
    """Return the name and the options in ``name:option=value,option=value``.

    Raises
    ------
    InputError
        If it is not of this form.
    """
    name, _, rest = text.strip().partition(":")
    options: dict[str, Any] = {}
    for pair in filter(None, rest.split(",")):
        option, equals, value = pair.partition("=")
        if not equals or not option.strip() or not value.strip():
            raise InputError(
                f"sampler={text!r}: {pair!r} is not an option with a value, as in "
                "ladies:size=512,form=poisson"
            )
        options[option.strip()] = _value(value.strip())
    return name.strip(), options


def make_sampler(
    text: str, num_neighbors: Sequence[Any] | None, sample_by: str = "uniform"
) -> Sampler:
    """Return the sampler that a text names.

    Parameters
    ----------
    text : str
        A name and options.
    num_neighbors : sequence or None
        Fan-outs, for samplers that take them.
    sample_by : str
        What neighbours are drawn in proportion to, likewise.

    Raises
    ------
    InputError
        In one line.
    """
    name, options = parsed(text)
    known = _known(name)
    takes = _checked_options(name, options)
    if not known.takes_fan_outs:
        if num_neighbors is not None:
            raise fan_outs_refused(text)
        return known.load()(**options)
    if num_neighbors is None:
        raise InputError(
            f"sampler={text!r} needs num_neighbors: give one fan-out per layer, hop 1 "
            "first, as in num_neighbors=[15, 10]"
        )
    if sample_by != "uniform" and "sample_by" in takes:
        options.setdefault("sample_by", sample_by)
    sampler: Any = known.load()
    made: Sampler = sampler(num_neighbors, **options)
    return made


def fan_outs_refused(text: str) -> InputError:
    """Return what to raise where a sampler is given fan-outs that it does not take."""
    return InputError(
        f"sampler={text!r} takes no num_neighbors: leave it out; its own options are "
        'in "daskgnn samplers"'
    )


def text_of(sampler: Any) -> str | None:
    """Return the text that names a sampler; None of one that has no name."""
    for name, known in SAMPLERS.items():
        if type(sampler).__name__ != known.kind or type(sampler) is not known.load():
            continue
        given = {o: (getattr(sampler, o), d) for o, d in options_of(name).items()}
        if any(hasattr(value, "shape") for value, _ in given.values()):
            return None  # an array has no name
        words = [
            f"{option}={value}"
            for option, (value, default) in given.items()
            if value != default
        ]
        return f"{name}:{','.join(words)}" if words else name
    return None


def _known(name: str) -> KnownSampler:
    if name in SAMPLERS:
        return SAMPLERS[name]
    raise InputError(
        f"sampler={name!r} is unknown, expected one of {', '.join(SAMPLERS)}: did you "
        f"mean {nearest(name, SAMPLERS)!r}?"
    )


def options_in_words(name: str) -> dict[str, str]:
    """Return the options of a sampler, with words where the default is no value."""
    absent = SAMPLERS[name].absent
    defaults = options_of(name).items()
    return {option: absent.get(option, str(value)) for option, value in defaults}


def options_of(name: str) -> dict[str, Any]:
    """Return the options of a sampler and their defaults; fan-outs are none.

    Raises
    ------
    InputError
        If the name is not known.
    """
    found = inspect.signature(_known(name).load()).parameters.values()
    return {p.name: p.default for p in found if p.name != "num_neighbors"}


def _checked_options(name: str, options: dict[str, Any]) -> dict[str, Any]:
    """Return all options of a sampler; refuse one that it does not have."""
    takes = options_of(name)
    for option in options:
        if option not in takes:
            raise InputError(
                f"sampler {name!r} has no option {option!r}, its options are "
                f"{', '.join(takes)}: did you mean {nearest(option, takes)!r}?"
            )
    return takes


def _value(word: str) -> Any:
    """Return a number or a truth value where a word is one."""
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            continue
    return {"true": True, "false": False, "none": None}.get(word.lower(), word)
