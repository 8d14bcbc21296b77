"""The first line is read as the rest is: delimiter, quotes, header, byte-order mark."""

import csv
import gzip
import io

import numpy as np
import pandas as pd
import pytest
from graphs import pairs

from daskgnn.errors import GraphFormatError
from daskgnn.graph.readers.edgelist import read_edge_list

NAMES = [("New York", "Los Angeles"), ("Los Angeles", "Bonn"), ("Bonn", "Oslo, N")]


def read(text, folder, **options):
    (folder / "e.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_edge_list(folder / "e.csv", directed=True, **options)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize(
    "head", [None, ("source", "target"), ("source id", "target id")]
)
@pytest.mark.parametrize("sign", ["\t", ",", ";", " "])
def test_as_the_csv_module_writes_it(sign, head, mark, end, tmp_path):
    text = io.StringIO()
    writer = csv.writer(text, delimiter=sign, lineterminator=end)
    writer.writerows([head, *NAMES] if head else NAMES)
    graph = read(mark + text.getvalue(), tmp_path)
    assert pairs(graph) == sorted(NAMES)


def test_tabs_win_over_spaces_and_commas(tmp_path):
    graph = read("New York\tLos Angeles\n", tmp_path)
    assert pairs(graph) == [("New York", "Los Angeles")]
    graph = read("Ulm, D\tOslo, N\nOslo, N\tBonn, D\n", tmp_path)
    assert pairs(graph) == [("Oslo, N", "Bonn, D"), ("Ulm, D", "Oslo, N")]
    # But tabs and spaces between numbers are both white space, as KONECT has them.
    graph = read("% sym\n1 2\t0.5\t99\n2 3\t1.5\t98\n", tmp_path, weight=2)
    assert pairs(graph) == [(1, 2), (2, 3)]
    assert graph.edge_weight.tolist() == [0.5, 1.5]


def test_decimal_commas_do_not_separate(tmp_path):
    graph = read("1;2;0,5\n2;3;1,5\n", tmp_path)
    assert pairs(graph) == [(1, 2), (2, 3)]


def test_a_header_with_spaces(tmp_path):
    text = "paper id,cites paper\n1,2\n2,3\n"
    assert pairs(read(text, tmp_path)) == [(1, 2), (2, 3)]
    named = {"source": "cites paper", "destination": "paper id"}
    assert pairs(read(text, tmp_path, **named)) == [(2, 1), (3, 2)]
    tabs = text.replace(",", "\t")
    assert pairs(read(tabs, tmp_path, **named)) == [(2, 1), (3, 2)]


def test_quotes_and_mark_in_the_first_line(tmp_path):
    for text in ('"a,b","c"\n"c",d\n', '\ufeff"a,b",c\nc,d\n', '"a,b" , c\nc , "d"\n'):
        assert pairs(read(text, tmp_path)) == [("a,b", "c"), ("c", "d")]
    assert pairs(read('"1","2"\n"2","3"\n', tmp_path)) == [(1, 2), (2, 3)]
    assert pairs(read('"a b"  "c ""d"""\n', tmp_path)) == [("a b", 'c "d"')]
    marked = gzip.compress("\ufeff# comment\n1,2\n".encode())
    (tmp_path / "e.csv.gz").write_bytes(marked)
    assert pairs(read_edge_list(tmp_path / "e.csv.gz", directed=True)) == [(1, 2)]


def test_spaces_beside_words_are_no_part_of_them(tmp_path):
    graph = read("anna, bob\nbob ,carl\n", tmp_path)
    assert pairs(graph) == [("anna", "bob"), ("bob", "carl")]
    expected = pd.read_csv(
        io.StringIO("anna, bob\nbob,carl\n"), header=None, skipinitialspace=True
    )
    assert sorted(expected.itertuples(index=False, name=None)) == pairs(graph)


def test_other_encodings_are_named(tmp_path):
    with pytest.raises(GraphFormatError, match="not UTF-8"):
        read("č,é\né,č\n".encode("latin2"), tmp_path)


def test_lines_are_counted_over_blocks_and_comments(tmp_path):
    rows = "".join(f"{i},{i + 1}\n" for i in range(40_000))
    (tmp_path / "e.csv").write_text("# a\n" + rows + "\n% b\n7,\n")
    with pytest.raises(GraphFormatError, match="line 40004: "):
        read_edge_list(tmp_path / "e.csv", memory_limit="1 MiB")


def test_numbers_stay_as_fast_and_exact(tmp_path):
    edges = np.random.default_rng(0).integers(-(2**62), 2**62, (50, 2))
    np.savetxt(tmp_path / "e.csv", edges, "%d", delimiter=",")
    graph = read_edge_list(tmp_path / "e.csv", directed=True)
    assert pairs(graph) == sorted(map(tuple, edges.tolist()))
