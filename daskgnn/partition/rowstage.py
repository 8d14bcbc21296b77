"""The stages from edges to CSR rows in files: in this process, or by a cluster."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from dask.utils import format_bytes

from daskgnn.errors import GraphFormatError
from daskgnn.graph.assemble import Spool, count_isolated, count_rows
from daskgnn.graph.edges import Rows
from daskgnn.graph.external import MAX_BUCKETS, BucketState, EdgeSource, RowBuckets
from daskgnn.graph.pieces import (
    PieceFacts,
    PieceWork,
    cut_pieces,
    join_pieces,
    put_piece,
    remove_sorted,
    save_edges,
    sort_piece,
    sorted_piece,
)
from daskgnn.graph.rowfiles import RowFiles, RowState, sort_bucket

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np

    from daskgnn.graph.rowfiles import SortedRows
    from daskgnn.graph.synthetic import Synthetic
    from daskgnn.graph.workfolder import WorkFolder
    from daskgnn.partition.mapper import Mapper

NODE_BYTES = 56
"""Held for each node while edges are sorted and the store is written."""
LEAST_BUDGET = 1 << 26
BUCKETS_IN_BUDGET = 4
PIECE_EDGES = 1 << 21
"""Edges of a cluster's task, or one chunk if that has more."""
_SAVED = "edges.bin"


class _Spooled:
    """The edges that a reader has read, as a source of chunks."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool

    def chunks(self, first: int = 0) -> Iterator[Any]:
        """Yield all chunks from one on."""
        yield from islice(self._spool.chunks(), first, None)


@dataclass
class RowStage:
    """Does what `daskgnn.graph.assemble.build_rows` does, in files of a work folder."""

    folder: WorkFolder
    limit: int
    """Bytes that all processes together may hold."""
    mapper: Mapper | None
    """Where tasks run; in this process if None."""
    shown: bool
    tell: Callable[[str], Any]

    def __call__(
        self,
        edges: Spool | Synthetic,
        num_nodes: int,
        *,
        directed: bool,
        keep_self_loops: bool,
    ) -> tuple[Rows, np.ndarray | None]:
        """Return the rows and weights, mapped: see `build_rows`."""
        total = edges.count if isinstance(edges, Spool) else edges.num_edges
        weighted = isinstance(edges, Spool) and edges.weighted
        slots = 1 if self.mapper is None else self.mapper.slots
        budget = sort_budget(num_nodes, self.limit, slots)
        if "num_buckets" not in self.folder.state:
            entries = total if directed else 2 * total
            wanted = int(-(-entries * 20 * BUCKETS_IN_BUDGET // budget))
            count = min(max(wanted, 1), MAX_BUCKETS)
            self.folder.save(num_nodes=num_nodes, num_buckets=count, weighted=weighted)
        keeps = {"directed": directed, "keep_self_loops": keep_self_loops}
        given: BucketState | PieceFacts
        if self.mapper is None:
            given, files = self._here(edges, total, budget, **keeps)
        else:
            given, files = self._on_cluster(self.mapper, edges, total, budget, **keeps)
        indptr, indices, weights = files.arrays()
        kept = files.state
        report = count_rows(
            given.edges, given.loops, kept.given, kept.entries, **_renamed(keeps)
        )
        report["isolated_nodes"] = count_isolated(indptr, indices, directed)
        return Rows(indptr, indices, None, report), weights

    def _here(
        self, edges: Spool | Synthetic, total: int, budget: int, **keeps: bool
    ) -> tuple[BucketState, RowFiles]:
        """Fill buckets and sort them, one after the other."""
        source: EdgeSource = _Spooled(edges) if isinstance(edges, Spool) else edges
        buckets = self._buckets()
        if "rows" not in self.folder.state:
            self.tell("edges to buckets")
            with bar("edges to buckets", total, self.shown, buckets.state.edges) as at:
                buckets.fill(
                    source,
                    **keeps,
                    save=lambda state: self.folder.save(buckets=asdict(state)),
                    told=at.update,
                )
            self.folder.save(buckets=asdict(buckets.state))
        assert buckets.state.entries is not None
        files = self._take(
            buckets.state.entries,
            lambda bucket: sort_bucket(buckets, bucket, budget),
            buckets.remove,
        )
        return buckets.state, files

    def _buckets(self) -> RowBuckets:
        """Open the buckets as they were left."""
        state = self.folder.state
        begun = BucketState(**state.get("buckets", {}))
        path = self.folder.path / "buckets"
        return RowBuckets(
            path, state["num_nodes"], state["num_buckets"], state["weighted"], begun
        )

    def _on_cluster(
        self,
        mapper: Mapper,
        edges: Spool | Synthetic,
        total: int,
        budget: int,
        **keeps: bool,
    ) -> tuple[PieceFacts, RowFiles]:
        """Have tasks arrange pieces of the edges, and sort the buckets."""
        state, path = self.folder.state, self.folder.path / "pieces"
        path.mkdir(exist_ok=True)
        source: Any = edges
        if isinstance(edges, Spool):
            source = save_edges(edges, self.folder.path / _SAVED)
        work = PieceWork(
            folder=path,
            num_nodes=state["num_nodes"],
            num_buckets=state["num_buckets"],
            weighted=state["weighted"],
            budget=budget,
            source=source,
            **keeps,
        )
        pieces = cut_pieces(source.lengths, PIECE_EDGES)
        self.tell("edges to buckets")
        with bar("edges to buckets", total, self.shown) as at:
            calls = [(work, *piece) for piece in pieces]
            for count in mapper.map("edges-to-buckets", put_piece, calls):
                at.update(count)
        facts = join_pieces(work, len(pieces))
        todo = range(RowState(**state.get("rows", {})).buckets, work.count)
        done = mapper.map("buckets-to-rows", sort_piece, [(work, b) for b in todo])

        def next_sorted(bucket: int) -> Iterator[SortedRows]:
            next(done)
            yield sorted_piece(work, bucket)

        files = self._take(
            facts.sizes, next_sorted, lambda count: remove_sorted(work, count)
        )
        shutil.rmtree(path, ignore_errors=True)
        (self.folder.path / _SAVED).unlink(missing_ok=True)
        return facts, files

    def _take(
        self,
        sizes: list[int],
        sort: Callable[[int], Iterator[SortedRows]],
        remove: Callable[[int], None],
    ) -> RowFiles:
        """Write the rows of all buckets, the first first."""
        held = self.folder.state
        if "rows" not in held:
            self.folder.save(rows=asdict(RowState()))
        state, path = RowState(**held["rows"]), self.folder.path / "rows"
        files = RowFiles(path, held["num_nodes"], held["weighted"], state)

        def save(state: RowState) -> None:
            self.folder.save(rows=asdict(state))

        self.tell("buckets to rows")
        done = sum(sizes[: state.buckets])
        with bar("buckets to rows", sum(sizes), self.shown, done) as at:
            files.take(sizes, sort, save, remove, at.update)
        return files


def _renamed(keeps: dict[str, bool]) -> dict[str, bool]:
    """Return the two choices by the names that the report's counts have for them."""
    return {"directed": keeps["directed"], "keep_loops": keeps["keep_self_loops"]}


def sort_budget(num_nodes: int, limit: int, slots: int = 1) -> int:
    """Return what each of so many tasks may take beside the nodes.

    Raises
    ------
    GraphFormatError
        If the nodes leave nothing.
    """
    rest = limit - NODE_BYTES * num_nodes
    if rest < LEAST_BUDGET * slots:
        least = format_bytes(NODE_BYTES * num_nodes + LEAST_BUDGET * slots)
        tasks = f" with {slots} tasks at once" if slots > 1 else ""
        raise GraphFormatError(
            f"memory_limit is {format_bytes(limit)}, and {num_nodes:,} nodes{tasks} "
            f"need {least}: raise memory_limit"
        )
    return rest // (2 * slots)


def bar(what: str, total: int, shown: bool, done: int = 0) -> Any:
    """Return a bar that shows how far a stage is and the time left."""
    from tqdm import tqdm

    return tqdm(
        desc=what, total=total, initial=done, unit_scale=True, disable=not shown
    )
