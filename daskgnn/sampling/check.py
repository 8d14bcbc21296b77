"""Check a user's sampler on a small graph of two parts."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from daskgnn.errors import InputError
from daskgnn.kernels.adjacency import AdjacencyBlock
from daskgnn.kernels.book import PartitionBook
from daskgnn.kernels.entries import PartRows
from daskgnn.kernels.sampled import LocalRows, SampledGraph
from daskgnn.sampling.rounds import sample_parts
from daskgnn.sampling.sampler import Sampler
from daskgnn.seams import called, check_seam, refuse, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import DTypeLike

    from daskgnn.seams import Fault

ROWS, DEGREE = 8, 5
"""Nodes of each made-up part, and neighbours of each node."""
_CLUSTER = 4
"""Nodes of each made-up cluster."""


def check_sampler(
    sampler: Any, *, weighted: bool = False, index_dtype: DTypeLike = np.int32
) -> None:
    """Refuse a sampler that lacks a method, or returns what it should not.

    Raises
    ------
    InputError
        In one line, naming the class and its method.
    """
    if type(sampler).__module__.startswith("daskgnn.sampling."):
        return
    check_seam("sampler", sampler, Sampler)
    name, depends = type(sampler).__name__, _depends_on_graph(sampler)
    for count in ("rounds",) if sampler.any_depth else ("num_layers", "rounds"):
        given = getattr(sampler, count, None)
        if not isinstance(given, int) or given < 1:
            raise InputError(
                f"sampler: {name}.{count} is {given!r}, expected a whole number of at "
                f"least 1: self.{count} = 2"
            )
    sampler.fingerprint()
    if depends:
        return
    book = PartitionBook(np.arange(3) * ROWS)
    blocks = [made_up_block(part, weighted, index_dtype) for part in range(2)]
    watched = _Watched(sampler, name)
    data = [watched.part_data(block, MadeUpSource()) for block in blocks]
    parts = [PartRows(*pair) for pair in zip(blocks, data, strict=True)]
    first = np.arange(2, dtype=index_dtype)
    seeds = [[first + part * ROWS, first[part:] + part * ROWS] for part in range(2)]
    keys = np.array([3, 4], np.uint64)
    runs = [sample_parts(watched, parts, book, seeds, keys) for _ in range(2)]
    for part, graphs in enumerate(runs[0]):
        _check_graphs(sampler, graphs, seeds[part], book.num_nodes)
    if [*map(_bytes_of, runs[0])] != [*map(_bytes_of, runs[1])]:
        raise InputError(
            f"sampler: {name} gives other samples for the same arguments: take draws "
            "from daskgnn.kernels.counter beneath step_keys and the nodes' original ids"
        )


def _depends_on_graph(sampler: Sampler) -> bool:
    """Return whether a sampler cannot be tried without the graph that it is for."""
    own = type(sampler)
    chooses = own.steps is not Sampler.steps
    asks = own.summarize is not Sampler.summarize
    return sampler.any_depth or chooses or asks


def made_up_block(part: int, weighted: bool, dtype: DTypeLike) -> AdjacencyBlock:
    """Return one of the two made-up parts: rows of neighbours in both."""
    size = ROWS * DEGREE
    return AdjacencyBlock(
        part * ROWS,
        np.arange(ROWS + 1) * DEGREE,
        (np.arange(size) * 7 % (2 * ROWS)).astype(dtype),
        np.arange(ROWS) + part * ROWS,
        np.ones(size, np.float32) if weighted else None,
    )


class MadeUpSource:
    """A source for the small graph on which samplers are checked."""

    schema = SimpleNamespace(
        num_nodes=2 * ROWS,
        num_edges=2 * ROWS * DEGREE,
        directed=True,
        weighted=False,
        on_demand=False,
        tables=("original_ids",),
        splits={"train": np.arange(2 * ROWS)},
    )

    def load_rows(self, start: int, stop: int) -> AdjacencyBlock:
        """Return some rows of both parts."""
        pair = [made_up_block(part, weighted=False, dtype=np.int32) for part in (0, 1)]
        near = np.concatenate([block.indices for block in pair])
        near = near[start * DEGREE : stop * DEGREE]
        indptr = np.arange(stop - start + 1) * DEGREE
        return AdjacencyBlock(start, indptr, near, np.arange(start, stop))

    def degrees(self, ids: np.ndarray) -> np.ndarray:
        """Return int64 [n]."""
        return np.full(len(ids), DEGREE)

    def rows(self, table: str, ids: np.ndarray) -> np.ndarray:
        """Return int64 [n]: original ids are storage ids, all else is 0."""
        ids = np.asarray(ids, np.int64)
        return ids if table == "original_ids" else np.zeros_like(ids)


class MadeUpGraph:
    """The small graph, for samplers that must know the one they draw from."""

    name, held_book = "made-up", None
    num_nodes, num_edges = MadeUpSource.schema.num_nodes, MadeUpSource.schema.num_edges
    num_clusters = num_nodes // _CLUSTER
    clusters = SimpleNamespace(bounds=np.arange(num_clusters + 1) * _CLUSTER)
    partitioner: ClassVar[dict[str, Any]] = {}

    def __init__(
        self, source: Any, num_parts: int, index_dtype: DTypeLike = np.int32
    ) -> None:
        self.source, self.schema = source, source.schema
        self.splits = self.schema.splits
        self.num_parts, self.index_dtype = num_parts, np.dtype(index_dtype)
        self.partition_book = np.arange(num_parts + 1) * self.num_nodes // num_parts


class _Watched(Sampler):
    """A user's sampler; its errors are raised again with the method's name."""

    def __init__(self, sampler: Any, name: str) -> None:
        self._sampler, self._name = sampler, name
        self.num_layers, self.rounds = sampler.num_layers, sampler.rounds
        self.exchanges = tuple(sampler.exchanges)
        self.repeats_nodes = sampler.repeats_nodes

    def part_data(self, *given: Any) -> dict[str, np.ndarray]:
        """Call the sampler's, and check that it returns arrays."""
        data = self._call("part_data", given)
        arrays = data.values() if isinstance(data, dict) else [None]
        if not all(isinstance(array, np.ndarray) for array in arrays):
            raise InputError(
                f"sampler: {self._name}.part_data returns {shown(data)}, expected a "
                "dict of numpy arrays"
            )
        return dict(data)

    def start(self, *given: Any) -> Any:
        """Call the sampler's."""
        return self._call("start", given)

    def request(self, *given: Any) -> Any:
        """Call the sampler's, and check what is read of a request."""
        asked = self._call("request", given)
        ids = getattr(asked, "ids", None)
        if (
            not isinstance(ids, np.ndarray)
            or ids.ndim != 1
            or ids.dtype.kind not in "iu"
        ):
            raise InputError(
                f"sampler: {self._name}.request returns {shown(asked)}, expected an "
                "object with ids, an array of storage ids [n]"
            )
        return self._sized("request", asked)

    def answer(self, *given: Any) -> Any:
        """Call the sampler's, and check what is read of an answer."""
        return self._sized("answer", self._call("answer", given))

    def merge(self, *given: Any) -> Any:
        """Call the sampler's."""
        return self._call("merge", given)

    def finish(self, *given: Any) -> Any:
        """Call the sampler's."""
        return self._call("finish", given)

    def _call(self, method: str, given: tuple[Any, ...]) -> Any:
        tried = f" on a made-up graph of {2 * ROWS} nodes"
        return called("sampler", self._sampler, method, *given, where=tried)

    def _sized(self, method: str, message: Any) -> Any:
        if not isinstance(getattr(message, "nbytes", None), int | np.integer):
            raise InputError(
                f"sampler: {self._name}.{method} returns {shown(message)}, expected "
                "an object with nbytes, the bytes that are sent"
            )
        return message


def _check_graphs(
    sampler: Any, graphs: Any, seeds: list[np.ndarray], num_nodes: int
) -> None:
    """Refuse what `finish` has returned if it is not a graph for each step."""
    name = type(sampler).__name__
    if not isinstance(graphs, list | tuple) or len(graphs) != len(seeds):
        raise InputError(
            f"sampler: {name}.finish returns {shown(graphs)} for {len(seeds)} steps, "
            "expected a list of as many daskgnn.sampling.SampledGraph"
        )
    for graph, run in zip(graphs, seeds, strict=True):
        if not isinstance(graph, SampledGraph):
            raise InputError(
                f"sampler: {name}.finish returns a list of {shown(graph)}, expected "
                "daskgnn.sampling.SampledGraph"
            )
        faults = _faults(graph, run, sampler, num_nodes)
        refuse(f"sampler: {name}.finish returns a graph whose ", faults)


def _faults(
    graph: SampledGraph, seeds: np.ndarray, sampler: Any, num_nodes: int
) -> Iterator[Fault]:
    """Yield what is wrong with a graph: what, what it is, what was expected."""
    num_layers = sampler.num_layers
    yield from _array("ids", graph.ids, "iu", "int [n]")
    sizes = tuple(graph.sizes)
    right = [int(n) for n in sizes] == sorted(sizes) and len(sizes) == num_layers + 1
    if not right or sizes[0] != len(seeds) or sizes[-1] != len(graph.ids):
        yield (
            "sizes",
            f"{sizes}",
            f"{num_layers + 1} ascending numbers from {len(seeds)}, the seeds, to "
            f"{len(graph.ids)}, the ids",
        )
    known = set(graph.ids.tolist())
    repeats = len(known) != len(graph.ids) and not sampler.repeats_nodes
    if repeats or not known <= set(range(num_nodes)):
        yield "ids", f"{graph.ids.tolist()}", f"distinct numbers below {num_nodes}"
    if not np.array_equal(graph.seeds, seeds):
        first = graph.seeds.tolist()
        yield "ids", f"{first} at first", f"the seeds there, {seeds.tolist()}"
    computed = sizes[-2]
    kinds = {"original_ids": "int64", "degree": "int64", "weighted_degree": "float32"}
    for field, dtype in kinds.items():
        array = getattr(graph, field)
        yield from _array(field, array, dtype, f"{dtype} [{computed}]", computed)
    if len(graph.rows) not in (1, num_layers):
        yield "rows", f"{len(graph.rows)} CSRs", f"1 or {num_layers}"
    for number in range(num_layers):
        yield from _row_faults(graph, number)


def _row_faults(graph: SampledGraph, number: int) -> Iterator[Fault]:
    """Yield what is wrong with the edges of a layer."""
    shared = len(graph.rows) == 1
    field = "rows" if shared else f"rows[{number}]"
    rows: LocalRows = graph.rows[0 if shared else number]
    least, sources = graph.sizes[number], graph.sizes[number + 1]
    yield from _array(f"{field}.indptr", rows.indptr, "int64", "int64 [rows + 1]")
    yield from _array(f"{field}.indices", rows.indices, "int32", "int32 [edges]")
    indptr, count = rows.indptr, len(rows.indices)
    whole = len(indptr) > least and indptr[0] == 0 and indptr[-1] == count
    if not whole or (np.diff(indptr) < 0).any():
        yield (
            f"{field}.indptr",
            f"{indptr.tolist()}",
            f"at least {least + 1} ascending numbers from 0 to {count}, the edges",
        )
    starts, ends, indices, weights, means = graph.layer(number)
    used = np.concatenate(
        [indices[:0], *(indices[a:b] for a, b in zip(starts, ends, strict=True))]
    )
    if len(used) and not 0 <= used.min() <= used.max() < sources:
        yield (
            f"{field}.indices",
            f"between {used.min()} and {used.max()} for layer {number}",
            f"local numbers below {sources}",
        )
    for name, array in {"weights": weights, "mean_weights": means}.items():
        if array is not None:
            expected = f"float32 [{count}]"
            yield from _array(f"{field}.{name}", array, "float32", expected, count)


def _array(
    field: str, array: Any, dtype: str, expected: str, length: int | None = None
) -> Iterator[Fault]:
    """Yield what is wrong with one array: `dtype` is a name, or kinds of numbers."""
    if not isinstance(array, np.ndarray):
        yield field, shown(array), expected
        return
    right = array.dtype.kind in dtype if len(dtype) < 3 else array.dtype == dtype
    if not right or array.ndim != 1 or len(array) < (length or 0):
        yield field, shown(array), expected


def _bytes_of(graphs: list[SampledGraph]) -> list[Any]:
    """Return all nodes and edges of a part's graphs, to compare."""
    found: list[Any] = []
    for graph in graphs:
        found.append(graph.ids.tobytes())
        for number in range(graph.num_layers):
            found += [a.tobytes() for a in graph.layer(number) if a is not None]
    return found
