"""The stages from edges to CSR rows in files, in this process or on a cluster."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from itertools import starmap
from typing import TYPE_CHECKING, Any

from dask.utils import format_bytes

from daskgnn.errors import GraphFormatError
from daskgnn.graph.edges.assemble import Spool, count_isolated, count_rows
from daskgnn.graph.edges.csr import CSRRows
from daskgnn.prepare.pieces import (
    PieceTotals,
    PieceWork,
    cut_pieces,
    join_pieces,
    put_piece,
    save_edges,
    sort_whole,
)
from daskgnn.prepare.rowfiles import RowFiles, RowState, sort_bucket

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import numpy as np

    from daskgnn.graph.datasets.synthetic import Synthetic
    from daskgnn.prepare.mapper import Mapper
    from daskgnn.prepare.pieces import EdgeSource
    from daskgnn.prepare.rowfiles import SortedRows
    from daskgnn.prepare.workfolder import WorkFolder

NODE_BYTES = 56
"""Held for each node while edges are sorted and the store is written."""
LEAST_BUDGET = 1 << 26
BUCKETS_IN_BUDGET = 4
MAX_BUCKETS = 256
PIECE_EDGES = 1 << 21
"""Edges that are put into buckets at once, or one chunk if that has more."""
_PIECE_BYTES = 64
"""Of an edge of a piece: its ends twice, two entries and their weights."""
_SAVED = "edges.bin"


@dataclass
class RowStage:
    """Does what `build_rows` does, in files of a work folder."""

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
    ) -> tuple[CSRRows, np.ndarray | None]:
        """Return the rows and weights, mapped: see `build_rows`.

        A spool's edges are gone after that.
        """
        slots = 1 if self.mapper is None else self.mapper.slots
        budget = sort_budget(num_nodes, self.limit, slots)
        state = self.folder.state
        if "num_buckets" not in state:
            entries = sum(edges.lengths) * (1 if directed else 2)
            wanted = int(-(-entries * 20 * BUCKETS_IN_BUDGET // budget))
            self.folder.save(
                num_nodes=num_nodes,
                num_buckets=min(max(wanted, 1), MAX_BUCKETS),
                piece_edges=min(PIECE_EDGES, budget // _PIECE_BYTES),
                weighted=isinstance(edges, Spool) and edges.weighted,
            )
        work = PieceWork(
            folder=self.folder.path / "pieces",
            num_nodes=state["num_nodes"],
            num_buckets=state["num_buckets"],
            weighted=state["weighted"],
            directed=directed,
            keep_self_loops=keep_self_loops,
            budget=budget,
        )
        if "pieces" not in state:
            self._put(work, edges)
        if isinstance(edges, Spool):
            edges.drop()
        facts = PieceTotals(**state["pieces"])
        files = self._sort(work, facts.sizes)
        shutil.rmtree(work.folder, ignore_errors=True)
        indptr, indices, weights = files.arrays()
        kept = files.state
        report = count_rows(
            facts.edges,
            facts.loops,
            kept.given,
            kept.entries,
            directed,
            keep_self_loops,
        )
        report["isolated_nodes"] = count_isolated(indptr, indices, directed)
        return CSRRows(indptr, indices, None, report), weights

    def _put(self, work: PieceWork, edges: Spool | Synthetic) -> None:
        """Put the edges into buckets, a piece at a time."""
        work.folder.mkdir(exist_ok=True)
        saved, lengths = self.folder.path / _SAVED, edges.lengths
        source: EdgeSource = edges
        if self.mapper is not None and isinstance(edges, Spool):
            source = save_edges(edges, saved)
        pieces = cut_pieces(lengths, self.folder.state.get("piece_edges", PIECE_EDGES))
        calls = [(work, source, *piece) for piece in pieces]
        self.tell("edges to buckets")
        with bar("edges to buckets", sum(lengths), self.shown) as at:
            done = (
                starmap(put_piece, calls)
                if self.mapper is None
                else self.mapper.map("edges-to-buckets", put_piece, calls)
            )
            for count in done:
                at.update(count)
        self.folder.save(pieces=asdict(join_pieces(work, len(pieces))))
        saved.unlink(missing_ok=True)

    def _sort(self, work: PieceWork, sizes: list[int]) -> RowFiles:
        """Write the rows of all buckets, of `sizes` entries each, the first first."""
        state = RowState(**self.folder.state.get("rows", {}))
        path = self.folder.path / "rows"
        files = RowFiles(path, work.num_nodes, work.weighted, state)

        def save(state: RowState) -> None:
            self.folder.save(rows=asdict(state))

        self.tell("buckets to rows")
        done = sum(sizes[: state.buckets])
        with bar("buckets to rows", sum(sizes), self.shown, done) as at:
            calls = [(work, bucket) for bucket in range(state.buckets, work.count)]
            rows: Iterator[Iterable[SortedRows]] = (
                starmap(sort_bucket, calls)
                if self.mapper is None
                else self.mapper.map("buckets-to-rows", sort_whole, calls)
            )
            files.take(sizes, rows, save, at.update)
        return files


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
