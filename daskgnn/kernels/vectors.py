"""Runs of channels in the processor's vector registers, row after row of a matrix.

What a compiler makes of a plain loop over short rows waits for the sums that it keeps
in memory. Here a run's sums are in registers while all rows are gone through.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from daskgnn.kernels.bfloat import widened

if TYPE_CHECKING:
    from collections.abc import Iterator

_INT64 = ir.IntType(64)
_BYTE = ir.IntType(8).as_pointer()

Span = tuple[int, int]
"""How many vectors make a run, and how many numbers make a vector."""
LONG: Span = (4, 16)
SHORT: Span = (1, 8)


class _Run:
    """Emits the code of a run: its vectors, and where they lie."""

    def __init__(self, builder: Any, kind: Any, span: Span) -> None:
        self.builder, self.count = builder, span[0]
        self._type = ir.VectorType(kind, span[1])
        self._nbytes = span[1] * (8 if isinstance(kind, ir.DoubleType) else 4)
        self._align = self._nbytes // span[1]
        self._kind = kind

    def places(self, address: Any) -> Iterator[Any]:
        """Yield pointers to the run's vectors at an address."""
        for j in range(self.count):
            at = self.builder.add(address, _INT64(j * self._nbytes))
            yield self.builder.inttoptr(at, self._type.as_pointer())

    def load(self, address: Any) -> list[Any]:
        """Return the vectors at an address."""
        return [
            self.builder.load(place, align=self._align)
            for place in self.places(address)
        ]

    def store(self, vectors: list[Any], address: Any) -> None:
        """Write vectors to an address."""
        for vector, place in zip(vectors, self.places(address), strict=True):
            self.builder.store(vector, place, align=self._align)

    def spread(self, number: Any) -> Any:
        """Return a vector of equal numbers."""
        some = self.builder.insert_element(
            ir.Constant(self._type, ir.Undefined), number, ir.IntType(32)(0)
        )
        lanes = ir.Constant(
            ir.VectorType(ir.IntType(32), self._type.count), [0] * self._type.count
        )
        return self.builder.shuffle_vector(some, some, lanes)

    def multiplied_add(self, a: Any, b: Any, c: Any) -> Any:
        """Return ``a * b + c``, rounded once."""
        kind = "f64" if isinstance(self._kind, ir.DoubleType) else "f32"
        name = f"llvm.fma.v{self._type.count}{kind}"
        signature = ir.FunctionType(self._type, [self._type] * 3)
        function = self.builder.module.declare_intrinsic(name, (), signature)
        return self.builder.call(function, [a, b, c])


def _item(builder: Any, context: Any, kind: Any, address: Any, place: Any) -> Any:
    """Return an item of the array of numba type `kind` at an address."""
    data = context.get_data_type(kind)
    pointer = builder.gep(builder.inttoptr(address, data.as_pointer()), [place])
    return builder.load(pointer, align=kind.bitwidth // 8)


def _entry(context: Any, builder: Any, kind: Any, like: Any, given: Any) -> Any:
    """Return an entry as a number of the sums' type."""
    number = widened(context, builder, kind, given)
    wide = like == types.float64 and kind != types.float64
    return builder.fpext(number, ir.DoubleType()) if wide else number


def _emit_sum(span: Span, signature: Any, weighted: bool) -> Any:
    """Return what emits `add_rows`."""
    like, column, entry = signature.args[-3:]

    def generate(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        columns, entries, count, table, stride, out = args[:6]
        run = _Run(builder, context.get_data_type(like), span)
        sums = [cgutils.alloca_once_value(builder, v) for v in run.load(out)]
        with cgutils.for_range(builder, count) as loop:
            at = _item(builder, context, column, columns, loop.index)
            offset = builder.mul(builder.sext(at, _INT64), stride)
            vectors = run.load(builder.add(table, offset))
            factor = None
            if weighted:
                number = _item(builder, context, entry, entries, loop.index)
                factor = run.spread(_entry(context, builder, entry, like, number))
            for place, vector in zip(sums, vectors, strict=True):
                before = builder.load(place)
                after = (
                    builder.fadd(before, vector)
                    if factor is None
                    else run.multiplied_add(factor, vector, before)
                )
                builder.store(after, place)
        run.store([builder.load(place) for place in sums], out)
        return context.get_dummy_value()

    return generate


def _made(span: Span, weighted: bool, name: str) -> Any:
    """Return an intrinsic for runs of a span, of entries or of ones."""

    def typed(
        _typing: Any,
        columns: Any,
        entries: Any,
        count: Any,
        one: Any,
        stride: Any,
        other: Any,
        like: Any,
        column: Any,
        entry: Any,
    ) -> Any:
        given = (columns, entries, count, one, stride, other)
        signature = types.void(*(types.int64 for _ in given), like, column, entry)
        return signature, _emit_sum(span, signature, weighted)

    typed.__name__ = name
    return intrinsic(typed)


# Of (columns, entries, count, table, stride, out, like, column, entry): the addresses
# of a row's columns and entries, their number, where the table is and the bytes between
# its rows, where the sums are; numbers of the types of sums, columns and entries.
add_rows: Any = _made(LONG, True, "add_rows")
add_rows_of_ones: Any = _made(LONG, False, "add_rows_of_ones")
add_rows_short: Any = _made(SHORT, True, "add_rows_short")
add_rows_of_ones_short: Any = _made(SHORT, False, "add_rows_of_ones_short")
