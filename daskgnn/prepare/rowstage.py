"""The stages from edges to CSR rows in files, in this process or on a cluster."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dask.utils import format_bytes

from daskgnn.errors import GraphFormatError
from daskgnn.graph.edges.assemble import Spool, all_ones, reported_rows
from daskgnn.prepare.pieces import (
    EdgeSource,
    PieceWork,
    cut_pieces,
    join_pieces,
    put_piece,
    save_edges,
    sort_whole,
)
from daskgnn.prepare.rowfiles import RowFiles, sort_bucket

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from daskgnn.graph.datasets.synthetic import Synthetic
    from daskgnn.graph.edges.assemble import CSRRows
    from daskgnn.prepare.mapper import Mapper
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
    mapper: Mapper
    """Where tasks run."""
    shown: bool
    tell: Callable[[str], Any]

    def __call__(
        self,
        edges: Spool | Synthetic,
        num_nodes: int,
        *,
        directed: bool,
        keep_self_loops: bool,
        add: bool = False,
    ) -> tuple[CSRRows, np.ndarray | None]:
        """Return the rows and weights, mapped: see `build_rows`.

        A spool's edges are gone after that.
        """
        budget = sort_budget(num_nodes, self.limit, self.mapper.slots)
        state = self.folder.state
        if "work" not in state:
            entries = sum(edges.lengths) * (1 if directed else 2)
            wanted = int(-(-entries * 20 * BUCKETS_IN_BUDGET // budget))
            about = {
                "num_nodes": num_nodes,
                "num_buckets": min(max(wanted, 1), MAX_BUCKETS),
                "weighted": isinstance(edges, Spool) and edges.weighted,
            }
            least = min(PIECE_EDGES, budget // _PIECE_BYTES)
            self.folder.save(work=about, piece_edges=least)
        options = {"directed": directed, "keep_self_loops": keep_self_loops}
        path = self.folder.path / "pieces"
        work = PieceWork(path, **state["work"], **options, budget=budget, add=add)
        if "pieces" not in state:
            self._put(work, edges)
        if isinstance(edges, Spool):
            edges.drop()
        facts = state["pieces"]
        files = self._sort(work, facts["sizes"])
        shutil.rmtree(work.folder, ignore_errors=True)
        indptr, indices, weights = files.arrays()
        if add and weights is not None and all_ones(weights):
            weights = None
            self.folder.save(work={**state["work"], "weighted": False})
        counted = (facts["edges"], facts["loops"], files.given)
        return reported_rows(indptr, indices, counted, **options), weights

    def _put(self, work: PieceWork, edges: Spool | Synthetic) -> None:
        """Put the edges into buckets, a piece at a time."""
        work.folder.mkdir(exist_ok=True)
        saved, lengths = self.folder.path / _SAVED, edges.lengths
        source: EdgeSource = edges
        if self.mapper.client is not None and isinstance(edges, Spool):
            source = save_edges(edges, saved)
        pieces = cut_pieces(lengths, self.folder.state["piece_edges"])
        calls = [(work, source, *piece) for piece in pieces]
        self.tell("edges to buckets")
        with bar("edges to buckets", sum(lengths), self.shown) as at:
            for count in self.mapper.map("edges-to-buckets", put_piece, calls):
                at.update(count)
        self.folder.save(pieces=join_pieces(work, len(pieces)))
        saved.unlink(missing_ok=True)

    def _sort(self, work: PieceWork, sizes: list[int]) -> RowFiles:
        """Write the rows of all buckets, of `sizes` entries each, the first first."""
        files = self.files()
        self.tell("buckets to rows")
        done = sum(sizes[: files.buckets])
        with bar("buckets to rows", sum(sizes), self.shown, done) as at:
            calls = [(work, bucket) for bucket in range(files.buckets, work.count)]
            # Here a bucket's rows need not be there at once.
            sort = sort_bucket if self.mapper.client is None else sort_whole
            rows = self.mapper.map("buckets-to-rows", sort, calls)
            files.take(sizes, rows, lambda rows: self.folder.save(rows=rows), at.update)
        return files

    def files(self) -> RowFiles:
        """Return the files of the rows as the folder's state has them."""
        state = self.folder.state
        about = (state["work"]["num_nodes"], state["work"]["weighted"])
        return RowFiles(self.folder.path / "rows", *about, **state.get("rows", {}))


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
