"""Lines of text: what separates their fields, whether there is a header, their values.

All lines, the first ones too, are read by pyarrow: quotes mean the same everywhere.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from daskgnn.errors import GraphFormatError

if TYPE_CHECKING:
    from pathlib import Path

_KNOWN = re.compile(
    "(source|target|src|dst|destination|from|to)_?(node)?_?(id)?|(node|id)_?[12]"
    "|[uvij]|head|tail"
)
_SPACES = re.compile(rb"[ \t]+")
_QUOTED_OR_SPACES = re.compile(rb'("(?:[^"\n]|"")*")|[ \t]+')
_EDGES = re.compile(rb"(?m)^ | $")
_FIRST = re.compile(rb"(?:[ \t]*\n)*[^\n]*\n?")
_SIGNS = "\t,;"
_UNUSED = "\x1f"
"""What separates the fields of lines that have one each: no text has it in it."""
TEXT = pa.large_string()
_SAMPLE = 16
"""Lines that are looked at to find what separates fields."""


@dataclass(frozen=True)
class Layout:
    """The format of a file's lines."""

    delimiter: str
    """One character; a space stands for any run of spaces and tabs."""
    columns: tuple[str, ...]
    """Their names: of the header, or "0", "1", ..."""
    header: bool
    """Whether the first line names the columns."""


def find_layout(
    block: bytes,
    delimiter: str | None,
    header: bool | None,
    path: Path | str = "text",
) -> Layout:
    """Find out how lines look from the first ones.

    Parameters
    ----------
    path
        What messages call them.

    Raises
    ------
    GraphFormatError
        If the delimiter is not one character, or the first line is no line of fields.
    """
    lines = [line for line in block.split(b"\n", 4 * _SAMPLE) if line.strip()]
    lines = lines[:_SAMPLE]
    _check_text(lines, path)
    if delimiter is None:
        delimiter = _UNUSED if header and _is_one_name(lines[0]) else _guess(lines)
    if len(delimiter) != 1:
        raise GraphFormatError(
            f"{path}: delimiter is {delimiter!r}, expected one character: pass "
            "delimiter=','"
        )
    first, second = (_fields([line], delimiter) for line in [*lines, b""][:2])
    if not first:
        raise GraphFormatError(
            f"{path} begins with {lines[0][:60].decode(errors='replace')!r}, which has "
            "a quote that is not closed: expected one edge or node a line"
        )
    names = first[0]
    if header is None:
        header = _is_header(names, second[0] if second else [])
    columns = names if header else [str(i) for i in range(len(names))]
    return Layout(delimiter, tuple(columns), header)


def _check_text(lines: list[bytes], path: Path | str) -> None:
    """Raise `GraphFormatError` for lines that are no UTF-8."""
    try:
        b"".join(lines).decode()
    except UnicodeDecodeError as error:
        raise GraphFormatError(
            f"{path}: the first lines are not UTF-8 ({error.reason}): convert them, "
            "like iconv -f latin1 -t utf8"
        ) from None


def _is_one_name(line: bytes) -> bool:
    """Tell whether a header names one column, whatever separates fields."""
    found = [_fields([line], sign) for sign in (*_SIGNS, " ", "|")]
    return all(fields is not None and len(fields[0]) == 1 for fields in found)


def _guess(lines: list[bytes]) -> str:
    """Return what separates the fields: the sign by which all lines have as many.

    White space is it where it leaves nothing but numbers; else tabs come first, as
    names have spaces and commas in them.
    """
    rows = {sign: _fields(lines, sign) for sign in (*_SIGNS, " ", "|")}
    fitting = {
        sign: found for sign, found in rows.items() if found and len(found[0]) > 1
    }
    # The first of several lines may be a header.
    body = {sign: found[len(found) > 1 :] for sign, found in fitting.items()}
    if " " in body and all(map(is_number, chain(*body[" "]))):
        return " "
    for sign, found in body.items():
        if sign != " " and all(is_number(field) for row in found for field in row[:2]):
            return sign
    text = lines[0].decode("utf-8", "replace")
    present = [sign for sign in ",;\t" if sign in text.strip()]
    return next(iter(list(fitting) or present), " ")


def _fields(lines: list[bytes], delimiter: str) -> list[list[str]] | None:
    """Return the fields of each line; None where lines have not as many."""
    block = tidy(b"\n".join([*lines, b""]), delimiter)
    if not block.strip(b"\n"):
        return None
    try:
        read = csv.ReadOptions(autogenerate_column_names=True, use_threads=False)
        parse = csv.ParseOptions(delimiter=delimiter, quote_char='"')
        count = csv.read_csv(pa.BufferReader(block), read, parse).num_columns
        found = parse_lines(block, delimiter, count, dict.fromkeys(range(count), TEXT))
    except (pa.ArrowException, ValueError):
        return None
    return [
        list(row) for row in zip(*(c.to_pylist() for c in found.values()), strict=True)
    ]


def _is_header(first: list[str], second: list[str]) -> bool:
    """Tell whether a first line names columns."""
    if any(is_number(word) for word in first):
        return False
    known = sum(bool(_KNOWN.fullmatch(w.lower().replace(" ", ""))) for w in first)
    return known >= 2 or any(is_number(word) for word in second)


def without_header(block: bytes) -> bytes:
    """Return lines without the first that is not empty; the others keep their place."""
    found = _FIRST.match(block)
    end = 0 if found is None else found.end()
    return b"\n" * block.count(b"\n", 0, end) + block[end:]


def line_of(block: bytes, row: int) -> int:
    """Return the number of the line, from 0, that holds a row of a block."""
    for number, line in enumerate(block.split(b"\n")):
        row -= bool(line)
        if row < 0:
            return number
    return 0


def is_number(word: str) -> bool:
    """Tell whether a word is a number."""
    try:
        float(word)
    except ValueError:
        return False
    return True


def parse_lines(
    block: bytes, delimiter: str, count: int, kinds: dict[int, Any]
) -> dict[int, Any]:
    """Return the columns of `kinds`, in their types, of tidy lines with `count` fields.

    Numbers come as numpy has them; spaces around words are not part of them.

    Raises
    ------
    pyarrow.ArrowInvalid
        If a line has other fields.
    """
    names = [str(i) for i in range(count)]
    table = csv.read_csv(
        pa.BufferReader(block),
        csv.ReadOptions(column_names=names, block_size=len(block) + 1),
        csv.ParseOptions(delimiter=delimiter, quote_char='"'),
        csv.ConvertOptions(
            column_types={names[i]: kind for i, kind in kinds.items()},
            include_columns=[names[i] for i in kinds],
            null_values=[],
            strings_can_be_null=False,
        ),
    )
    found = {}
    for i, kind in kinds.items():
        column = table.column(names[i]).combine_chunks()
        if isinstance(column, pa.ChunkedArray):
            column = pa.concat_arrays(column.chunks or [pa.array([], kind)])
        text = kind == TEXT
        found[i] = pc.utf8_trim(column, " \t") if text else column.to_numpy()
    return found


def tidy(block: bytes, delimiter: str = " ") -> bytes:
    """Return lines without the spaces that would be taken for fields, or hide a quote.

    Where white space separates fields, one space is left between two of them.
    """
    if delimiter != " ":
        sign = re.escape(delimiter.encode())
        if b'"' not in block or not re.search(rb"(?m)(?:^|%b)[ ]+\"" % sign, block):
            return block
        pattern = rb'("(?:[^"\n]|"")*")|(?m:(^|%b)[ ]+(?="))' % sign
        return re.sub(pattern, lambda m: m[1] or m[2], block)
    if b'"' in block:
        return _EDGES.sub(b"", _QUOTED_OR_SPACES.sub(lambda m: m[1] or b" ", block))
    return _EDGES.sub(b"", _SPACES.sub(b" ", block))
