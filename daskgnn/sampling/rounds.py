"""Run a sampler's rounds for parts in one process: checks, tests, benchmarks."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from daskgnn.kernels.entries import completed, references
from daskgnn.sampling.coverage import presampling_keys
from daskgnn.sampling.steps import runs_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from daskgnn.kernels.book import PartitionBook
    from daskgnn.kernels.entries import PartRows
    from daskgnn.kernels.sampled import SampledGraph
    from daskgnn.sampling.presampling import PresampledSampler
    from daskgnn.sampling.sampler import Sampler


def sample_parts(
    sampler: Sampler,
    parts: Sequence[PartRows],
    book: PartitionBook,
    seeds: Sequence[list[np.ndarray]],
    step_keys: np.ndarray,
    threads: int = 1,
) -> list[list[SampledGraph]]:
    """Return each part's graphs of a window, [P][W].

    Parameters
    ----------
    seeds : sequence of list
        [P][W], the seeds of each part in each step.
    """
    frontiers = [sampler.start(runs, step_keys, book) for runs in seeds]
    for number in range(sampler.rounds):
        how = (step_keys, number, book, threads)
        frontiers = _round(sampler, parts, frontiers, how)
    return [sampler.finish(frontier) for frontier in frontiers]


def _round(
    sampler: Sampler, parts: Sequence[PartRows], frontiers: list[Any], how: Any
) -> list[Any]:
    """Return the parts' frontiers after a round."""
    (_, number, book, threads), everyone = how, range(len(parts))
    asked = [
        [sampler.request(frontier, number, owner, book) for owner in everyone]
        for frontier in frontiers
    ]
    after = []
    for part, frontier in enumerate(frontiers):
        given: dict[int, Any] = {}
        for owner in everyone:
            wanted = asked[part][owner]
            if number in sampler.exchanges:
                given[owner] = asked[owner][part]
            elif owner == part or len(wanted.ids):
                given[owner] = sampler.answer(parts[owner], wanted, *how)
        if number not in sampler.exchanges:
            given = _completed(given, parts, book)
        after.append(sampler.merge(frontier, given, number, part, book, threads))
    return after


def presample_parts(
    sampler: PresampledSampler,
    parts: Sequence[PartRows],
    book: PartitionBook,
    seed: int,
) -> tuple[PresampledSampler, list[PartRows]]:
    """Return the sampler after its pre-sampling, and the parts' rows with counts."""
    everyone = range(len(parts))
    counts: list[dict[str, np.ndarray]] = [{} for _ in everyone]
    number = 0
    while steps := sampler.presampling(number):
        keys = presampling_keys(seed, sampler.done.steps, steps)
        runs = runs_of(sampler.plan.starts(0, 0), len(parts))
        states: list[Any] = [sampler.start([run] * steps, keys, book) for run in runs]
        for round_number in range(sampler.rounds - 1):
            states = _round(sampler, parts, states, (keys, round_number, book, 1))
        last = sampler.rounds - 1
        for owner in everyone:
            asked = [sampler.request(state, last, owner, book) for state in states]
            counts[owner] = sampler.tally(parts[owner], counts[owner], asked, book)
        drawn = [sampler.drawn(*pair) for pair in zip(parts, counts, strict=True)]
        sampler = sampler.presampled(sampler.done.steps + steps, sum(drawn))
        number += 1
    pairs = zip(parts, counts, strict=True)
    return sampler, [replace(rows, data={**rows.data, **own}) for rows, own in pairs]


def _completed(
    answers: dict[int, Any], parts: Sequence[PartRows], book: PartitionBook
) -> dict[int, Any]:
    """Return answers without references to entries that other parts hold."""
    if book.held is None:
        return answers
    found = {
        owner: rows.held(references(answers, book, owner))
        for owner, rows in enumerate(parts)
    }
    return completed(answers, book, found)
