"""From the sum of gradients to the optimizer: clipping, accumulation, staleness."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from daskgnn.errors import InputError
from daskgnn.kernels.compress import HALVES, Compression

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from daskgnn.train.options.options import TrainOptions

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
_FELT_LATER = {"staleness", "local_steps", "compress", "server"}
"""Where a step that float16 leaves out would be felt later."""
_LATE = {"async": 1, "server": 8}
"""Ways whose gradients are late, and by how many updates unless it is given."""
COMPRESSIONS = "topk:SHARE, powersgd:RANK, fp16, bf16 or int8"
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
    "inverse" by max(1, t), "adaptive" as `Damping` says; "dc-asgd" corrects the
    gradient (Zheng et al., "Asynchronous Stochastic Gradient Descent with Delay
    Compensation", ICML 2017), and divides as "adaptive" does if there is a ramp."""
    sums: str = "tree"
    """The order in which parts' gradients are added: "tree" or "ring"."""
    compress: str | None = None
    """How each part's gradient is compressed before it is sent: see `compression`."""
    local_steps: int = 0
    """Steps that every part takes by itself between averages; 0: none."""
    bound: int | None = None
    """Largest staleness of gradients that are applied as they come; None: they are
    not."""
    ramp_steps: int = 0
    """First steps, in which no gradient is late and the sparsity rises to what is
    asked; 0 leaves out all that makes such gradients gentle."""
    checksum_every: int | None = None
    """Steps between comparisons of all copies of the parameters: not a bit depends on
    it."""

    @classmethod
    def of(cls, options: TrainOptions) -> Gradients:
        """Return what a trainer's options, checked one by one, mean together.

        Raises
        ------
        InputError
            If they do not go together.
        """
        given: dict[str, Any] = {**options}
        way, staleness = options["gradients"], options["staleness"]
        if way not in _LATE and staleness is not None:
            raise InputError(
                f"staleness={staleness} needs gradients='async' or 'server', not "
                f"{way!r}"
            )
        late = _LATE.get(way, 0) if staleness is None else staleness
        found: dict[str, Any] = {
            **{f.name: given[f.name] for f in fields(cls) if f.name in given},
            "staleness": late if way == "async" else 0,
            "bound": late if way == "server" else None,
            "sums": "tree" if way in _LATE else way,
            "local_steps": options["local_steps"] or 0,
        }
        gradients = cls(**found)
        if not gradients._ramps:
            gradients = replace(gradients, ramp_steps=0)
        if gradients.compensation == "auto":
            damped = gradients._late and gradients.ramp_steps
            gradients = replace(
                gradients, compensation="adaptive" if damped else "none"
            )
        gradients._check(options["precision"])
        return gradients

    def _check(self, precision: str) -> None:
        """Refuse what cannot go together."""
        if self.compensation != "none" and not self._late:
            raise InputError(
                f"compensation={self.compensation!r} is for staleness: give "
                "staleness=1 or more, too"
            )
        if self.compress is not None:
            compression(self.compress)
        used = self.asked_for()
        for one, other in _APART:
            if one in used and other in used:
                raise InputError(
                    f"{used[one]} and {used[other]} cannot go together: use one of them"
                )
        felt = ", ".join(used[name] for name in sorted(_FELT_LATER & used.keys()))
        if precision == "fp16" and felt:
            raise InputError(
                f"precision='fp16' and {felt} cannot go together: use precision='bf16'"
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

    @property
    def _late(self) -> int:
        """Largest staleness after the first steps."""
        return self.staleness if self.bound is None else self.bound

    @property
    def _sparse(self) -> bool:
        return self.compress is not None and self.compress.startswith("topk")

    @property
    def _ramps(self) -> bool:
        """Whether there is anything that is gentler in the first steps."""
        return bool(self._late) or self._sparse

    def ramp(self, step: int) -> float:
        """Return how far sparsity has risen in a step of the run, up to 1."""
        return min(1.0, (step + 1) / (self.ramp_steps + 1))

    def limit(self, step: int) -> int:
        """Return the largest staleness from a step of the run on."""
        return self._late if step >= self.ramp_steps else 0

    def steps_alike(self, step: int) -> int | None:
        """Return for how many steps from one on `limit` stays; None: forever."""
        left = self.ramp_steps - step
        return left if self._late and left > 0 else None

    @property
    def damps(self) -> bool:
        """Whether learning rates of late gradients follow the loss: see `Damping`."""
        ramped = self.compensation == "dc-asgd" and self.ramp_steps > 0
        return self.compensation == "adaptive" or ramped

    def masks(self, ramp: float) -> bool:
        """Return whether only what was sent is updated: see `updating_only`."""
        if not self._sparse or not self.ramp_steps:
            return False
        return compression(str(self.compress)).ramped(ramp).amount < 1

    def staleness_of(self, step: int) -> int:
        """Return how late a step's gradient is, if that is planned."""
        return 0 if self.bound is not None else min(step, self.limit(step))

    def fingerprint(self) -> dict[str, Any]:
        """Return what a checkpoint must agree with."""
        fingerprint = asdict(self)
        del fingerprint["checksum_every"]
        return fingerprint

    def rate(self, staleness: int) -> float:
        """Return what the learning rate is multiplied by."""
        if self.compensation == "linear":
            return 1 / (1 + 0.1 * staleness)
        if self.compensation == "inverse":
            return 1 / max(1, staleness)
        return 1.0


SYNCHRONOUS = Gradients()
"""One update a step, of the gradient as it is."""


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
    """The options of one step's update, from the driver."""

    groups: list[dict[str, Any]]
    """Settings of each of the optimizer's parameter groups (learning rates)."""
    weight: float = 1.0
    """Share of this step's seeds in those of its update."""
    applies: bool = True
    """Whether the update is made after this step; else the gradient is kept."""
    averages: bool = False
    """With local steps: whether parts are averaged after this one."""
    rate: float = 1.0
    """What the learning rates in `groups` were multiplied by."""
    ramp: float = 1.0
    """How far the sparsity of compressed gradients has risen."""
    late: int = 0
    """Updates between what the gradient is taken at and what it is applied to."""

    def slowed(self, groups: list[dict[str, Any]], rate: float) -> UpdateOptions:
        """Return the options with some groups, whose learning rates are multiplied.

        An optimizer of a user's own may have none.
        """
        groups = [dict(group) for group in groups]
        for group in groups:
            if rate != 1.0 and "lr" in group:
                group["lr"] = group["lr"] * rate
        return replace(self, groups=groups)


def step_weights(
    count: int, seeds: Callable[[int], int], per_epoch: int, steps: Iterable[int]
) -> Iterator[tuple[float, bool]]:
    """Yield each step's weight in its update, and whether it is the update's last.

    Parameters
    ----------
    count : int
        Steps of an update, which does not reach over the end of the epoch.
    seeds : callable
        Number of a step in its epoch -> seeds.
    per_epoch : int
        Steps of an epoch.
    steps : iterable of int
        The steps that are asked for.
    """
    for step in steps:
        begin = step - step % count
        together = range(begin, min(begin + count, per_epoch))
        total = sum(seeds(other) for other in together)
        yield seeds(step) / total if total else 1.0, step == together[-1]


def staleness_counts(gradients: Gradients, first: int, last: int) -> dict[str, int]:
    """Return how many of the updates `first` to `last` - 1 had which staleness."""
    counts = Counter(map(gradients.staleness_of, range(first, last)))
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
