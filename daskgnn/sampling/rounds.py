"""A sampler's rounds among parts that all lie here: for checks, tests, benchmarks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from daskgnn.kernels.entries import completed, references

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from daskgnn.kernels.book import PartitionBook
    from daskgnn.kernels.entries import PartRows
    from daskgnn.kernels.sampled import SampledGraph
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
    everyone = range(len(parts))
    for number in range(sampler.rounds):
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
                    how = (step_keys, number, book, threads)
                    given[owner] = sampler.answer(parts[owner], wanted, *how)
            if number not in sampler.exchanges:
                given = _completed(given, parts, book)
            after.append(sampler.merge(frontier, given, number, part, book, threads))
        frontiers = after
    return [sampler.finish(frontier) for frontier in frontiers]


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
