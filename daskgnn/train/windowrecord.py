"""What is told of a window to those who watch a run: numbers, and addresses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from daskgnn.train.loop import WindowResult
    from daskgnn.train.profile.windowprofile import Seconds, WindowProfile

_GATHERING = ("rows", "halo-cache", "gather")
"""First words of the keys of tasks that bring input rows together; others sample."""


def window_record(
    result: WindowResult, first: int, seconds: Sequence[float], whole: float
) -> dict[str, Any]:
    """Return the record of a window, as `daskgnn.Callback.window` describes it.

    Parameters
    ----------
    result : WindowResult
    first : int
        Number of its first step.
    seconds : sequence of float
        What each step took.
    whole : float
        From the end of the window before to the end of this one.
    """
    profile, state = result.window_profile, result.state
    computed = max(state.reports[-1].finished - profile.began, 0.0)
    wall = min(computed, whole)
    lines = _mean_lines(profile, wall)
    lines["driver"] = whole - wall
    crossed = profile.crossed
    staleness = max(state.late) if state.late else 0
    return {
        "step": first + len(seconds),
        "epoch": result.window.epoch,
        "losses": [float(told.loss) for told in state.reports],
        "seconds": list(seconds),
        "form": profile.form,
        "lines": lines,
        "ahead": _ahead(profile),
        "wait": lines.get("batches", 0.0),
        "parts": list(
            zip(profile.places, profile.part_seconds(profile.places), strict=True)
        ),
        "pairs": _pairs(profile),
        "sums": _sums(profile),
        "gradient_bytes": sum(told.sent_bytes for told in state.reports),
        "halo_cache_hits": crossed["cache_hits"],
        "halo_cache_misses": crossed["cache_misses"],
        "staleness": staleness,
    }


def _mean_lines(profile: WindowProfile, wall: float) -> Seconds:
    """Return a window's seconds by line, mean over workers."""
    columns, _ = profile.lines(wall)
    mean: Seconds = {}
    for lines in columns.values():
        for name, spent in lines.items():
            mean[name] = mean.get(name, 0.0) + spent / len(columns)
    return mean


def _ahead(profile: WindowProfile) -> Seconds:
    """Return seconds of a window's preparation, mean over workers."""
    found = {"sample": 0.0, "gather": 0.0}
    workers = len(set(profile.places)) or 1
    for report in profile.prepared:
        for word, (spent, _) in report.spent.items():
            found["gather" if word in _GATHERING else "sample"] += spent / workers
    return found


def _sums(profile: WindowProfile) -> list[tuple[str, float, float, int]]:
    """Return (worker, when, seconds, bytes sent) of the exchange of sums."""
    return [
        (
            member.address,
            member.meetings[0][0] if member.meetings else member.work.began,
            sum(left - came for came, left in member.meetings),
            member.sent_bytes,
        )
        for member in profile.members
    ]


def _pairs(profile: WindowProfile) -> list[tuple[str, str, int, int]]:
    """Return (receiver, sender, bytes, messages) of each two workers."""
    sums: dict[tuple[str, str], list[int]] = {}
    for receiver, report in zip(profile.places, profile.prepared, strict=True):
        traffic = report.traffic
        for part, sender in enumerate(profile.places):
            if sender != receiver and traffic.nbytes[part]:
                total = sums.setdefault((receiver, sender), [0, 0])
                total[0] += int(traffic.nbytes[part])
                total[1] += int(traffic.messages[part])
    return [(*pair, *counts) for pair, counts in sums.items()]  # type: ignore[misc]
