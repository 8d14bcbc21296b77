"""What a step does with the sum of the parts' gradients before the optimizer has it."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from daskgnn.errors import InputError
from daskgnn.kernels.compress import HALVES, Compression

if TYPE_CHECKING:
    from collections.abc import Iterator

WAYS = ("tree", "ring", "async", "server")
SUMS = ("tree", "ring")
"""Ways that differ in the order of additions alone."""
_APART = (
    ("accumulate", "staleness"),
    ("local_steps", "accumulate"),
    ("local_steps", "staleness"),
    ("local_steps", "compress"),
    # Compressed gradients are not added on their way.
    ("compress", "sums"),
    ("server", "accumulate"),
    ("server", "compress"),
    ("server", "local_steps"),
)
"""What cannot go together."""
COMPRESSIONS = "topk:SHARE, powersgd:RANK, fp16, bf16 or int8"
COMPENSATIONS = ("none", "linear", "inverse", "dc-asgd")
_DC_ASGD_LAMBDA = 0.04
"""As in the paper's experiments."""


@dataclass(frozen=True)
class Gradients:
    """How gradients are used: part of a run's plan, so of its checkpoints.

    Staleness is the number of updates between the parameters that a gradient was
    taken at and those that it is applied to.
    """

    accumulate: int = 1
    """Steps whose gradients make one update, each weighted by its seeds."""
    clip_norm: float | None = None
    """Largest norm of a whole gradient; longer ones are shortened to it."""
    staleness: int = 0
    """Updates that gradients do not wait for."""
    compensation: str = "none"
    """What is done about staleness t: "linear" divides the learning rate by 1 + 0.1 t,
    "inverse" by max(1, t); "dc-asgd" corrects the gradient (Zheng et al.,
    "Asynchronous Stochastic Gradient Descent with Delay Compensation", ICML 2017)."""
    sums: str = "tree"
    """The order in which parts' gradients are added: "tree" or "ring"."""
    compress: str | None = None
    """How each part's gradient is compressed before it is sent: see `compression`."""
    local_steps: int = 0
    """Steps that every part takes by itself between averages; 0: none."""
    bound: int | None = None
    """Largest staleness of gradients that are applied as they come; None: they are
    not."""
    checksum_every: int | None = None
    """Steps between comparisons of all copies of the parameters: not a bit depends on
    it."""

    def __post_init__(self) -> None:
        if self.accumulate < 1 or self.staleness < 0:
            raise InputError(
                f"accumulate={self.accumulate}, staleness={self.staleness}: expected "
                "at least 1 and at least 0"
            )
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise InputError(f"clip_norm={self.clip_norm}, expected above 0, or None")
        if self.compensation not in COMPENSATIONS:
            raise InputError(
                f"compensation={self.compensation!r}, expected one of "
                f"{', '.join(COMPENSATIONS)}"
            )
        if self.compensation != "none" and not (self.staleness or self.bound):
            raise InputError(
                f"compensation={self.compensation!r} is for staleness: give "
                "staleness=1 or more, too"
            )
        if self.local_steps < 0 or (self.bound is not None and self.bound < 0):
            raise InputError(
                f"local_steps={self.local_steps}, staleness={self.bound}: expected at "
                "least 1 and at least 0"
            )
        if self.compress is not None:
            compression(self.compress)
        used = self.asked_for()
        for one, other in _APART:
            if one in used and other in used:
                raise InputError(
                    f"{used[one]} and {used[other]} cannot go together: use one of them"
                )

    def asked_for(self) -> dict[str, str]:
        """Return what is asked for beyond plain sums, as it was given."""
        given = {
            "accumulate": (self.accumulate > 1, f"accumulate={self.accumulate}"),
            "staleness": (self.staleness, f"staleness={self.staleness}"),
            "local_steps": (self.local_steps, f"local_steps={self.local_steps}"),
            "compress": (self.compress, f"compress={self.compress!r}"),
            "server": (self.bound is not None, "gradients='server'"),
            "sums": (self.sums != "tree", f"gradients={self.sums!r}"),
        }
        return {name: text for name, (is_used, text) in given.items() if is_used}

    def facts(self) -> dict[str, Any]:
        """Return what a checkpoint must agree with."""
        facts = asdict(self)
        del facts["checksum_every"]
        return facts

    def rate(self, staleness: int) -> float:
        """Return what the learning rate is multiplied by."""
        if self.compensation == "linear":
            return 1 / (1 + 0.1 * staleness)
        if self.compensation == "inverse":
            return 1 / max(1, staleness)
        return 1.0


SYNCHRONOUS = Gradients()
"""One update a step, of the gradient as it is."""


def choose(
    way: str,
    staleness: int | None,
    compensation: str,
    accumulate: int,
    clip_norm: float | None,
    compress: str | None = None,
    local_steps: int | None = None,
    checksum_every: int | None = None,
) -> Gradients:
    """Return what `Trainer`'s options mean.

    Raises
    ------
    InputError
        If they do not go together.
    """
    if way == "gloo":
        raise InputError(
            "gradients='gloo' is no more, for its bits depended on the workers: use "
            "gradients='tree'; a run that was begun with it cannot be continued"
        )
    if way not in WAYS:
        raise InputError(
            f"gradients={way!r}, expected one of {', '.join(map(repr, WAYS))}"
        )
    if way not in ("async", "server") and staleness is not None:
        raise InputError(
            f"staleness={staleness} needs gradients='async' or 'server', not {way!r}"
        )
    late = (1 if staleness is None else staleness) if way == "async" else 0
    bound = (8 if staleness is None else staleness) if way == "server" else None
    sums = way if way in SUMS else "tree"
    return Gradients(
        accumulate,
        clip_norm,
        late,
        compensation,
        sums,
        compress,
        local_steps or 0,
        bound,
        checksum_every,
    )


def check_half(gradients: Gradients, precision: str) -> Gradients:
    """Refuse float16 where a step that is left out would be felt later.

    Raises
    ------
    InputError
    """
    used = gradients.asked_for().keys() & {
        "staleness",
        "local_steps",
        "compress",
        "server",
    }
    if precision == "fp16" and used:
        names = ", ".join(gradients.asked_for()[name] for name in sorted(used))
        raise InputError(
            f"precision='fp16' and {names} cannot go together: use precision='bf16'"
        )
    return gradients


def compression(text: str) -> Compression:
    """Return what ``compress=`` means.

    Raises
    ------
    InputError
        If it means nothing.
    """
    kind, colon, amount = str(text).partition(":")
    try:
        if kind == "topk" and 0 < float(amount) <= 1:
            return Compression(kind, float(amount))
        if kind == "powersgd" and int(amount) >= 1:
            return Compression(kind, int(amount))
    except ValueError:
        pass
    if kind in (*HALVES, "int8") and not colon:
        return Compression(kind)
    raise InputError(
        f"compress={text!r}, expected {COMPRESSIONS}, with a share above 0 and at most "
        "1 (topk:0.01) and a rank of at least 1 (powersgd:2)"
    )


@dataclass(frozen=True)
class UpdateOptions:
    """What the driver says of one step's update."""

    groups: list[dict[str, Any]]
    """Settings of each of the optimizer's parameter groups (learning rates)."""
    weight: float = 1.0
    """Share of this step's seeds in those of its update."""
    applies: bool = True
    """Whether the update is made after this step; else the gradient is kept."""
    averages: bool = False
    """Whether parts that take steps of their own are averaged after this one."""


class StepUse(NamedTuple):
    """What the plan says of one step's gradient."""

    weight: float = 1.0
    """Its share in its update."""
    applies: bool = True
    """Whether it is its update's last."""
    rate: float = 1.0
    """What the learning rate is multiplied by."""
    averages: bool = False
    """Whether parts that take steps of their own are averaged after it."""


def shares(
    gradients: Gradients, seeds: list[int], first: int, size: int
) -> Iterator[tuple[float, bool]]:
    """Yield each step's weight in its update, and whether it is the update's last.

    Parameters
    ----------
    seeds : list of int
        Of every step of the epoch. Updates do not reach over its end.
    first, size : int
        The steps that are asked for.
    """
    count = gradients.accumulate
    for step in range(first, first + size):
        begin = step - step % count
        together = seeds[begin : begin + count]
        last = step == begin + len(together) - 1
        yield seeds[step] / sum(together), last


def staleness_counts(staleness: int, first: int, last: int) -> dict[str, int]:
    """Return how many of the updates `first` to `last` - 1 had which staleness."""
    counts = Counter(min(update, staleness) for update in range(first, last))
    return {str(late): count for late, count in sorted(counts.items())}


def clipped(gradient: np.ndarray, norm: float | None) -> np.ndarray:
    """Return the gradient, float32 [n], shortened to a norm if it is longer.

    As `torch.nn.utils.clip_grad_norm_` does; the norm is taken in float64.
    """
    if norm is None:
        return gradient
    length = float(np.sqrt(np.dot(gradient, gradient.astype(np.float64))))
    factor = norm / (length + 1e-6)
    return gradient if factor >= 1 else gradient * np.float32(factor)


def delay_compensated(
    gradient: np.ndarray, now: np.ndarray, then: np.ndarray
) -> np.ndarray:
    """Return the gradient taken at `then`, corrected for being applied at `now`.

    All float32 [n]: the diagonal of the gradient's outer product with itself stands
    for the Hessian.
    """
    change = gradient * gradient * (now - then)
    return gradient + np.float32(_DC_ASGD_LAMBDA) * change
