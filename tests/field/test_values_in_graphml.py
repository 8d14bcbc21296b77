"""GraphML: an empty value is not given, and nobody need have asked for it."""

import networkx as nx
import numpy as np
import pytest

from daskgnn.errors import GraphFormatError
from daskgnn.graph.readers.graphml import read_graphml

TEXT = """<graphml xmlns="http://graphml.graphdrawing.org/xmlns">
<key id="k" for="node" attr.name="kind" attr.type="{}"/>
<key id="x" for="node" attr.name="x" attr.type="double"/>
<graph edgedefault="undirected">
<node id="a"><data key="k">{}</data><data key="x">1</data></node>
<node id="b"><data key="k"/><data key="x">2</data></node>
<node id="c"><data key="k"></data><data key="x">3</data></node>
<edge source="a" target="b"/><edge source="b" target="c"/>
</graph></graphml>
"""


@pytest.mark.parametrize(
    ("kind", "value"),
    [("int", "2"), ("double", "2"), ("string", "2"), ("boolean", "true"), ("odd", "2")],
)
def test_an_empty_value_is_not_given(kind, value, tmp_path):
    path = tmp_path / "g.graphml"
    path.write_text(TEXT.format(kind, value))
    assert read_graphml(path, features=["x"]).features.tolist() == [[1], [2], [3]]
    labels = read_graphml(path, labels="kind").labels
    assert labels.tolist() == [1 if kind == "boolean" else 2, -1, -1]
    with pytest.raises(GraphFormatError, match="2 of 3 nodes have no attribute 'kind'"):
        read_graphml(path, features=["kind"])


def test_large_numbers_keep_their_digits_beside_missing_ones(tmp_path):
    drawn = nx.path_graph(3)
    drawn.nodes[0]["kind"] = drawn.nodes[2]["kind"] = 7
    nx.write_graphml(drawn, tmp_path / "g.graphml")
    assert read_graphml(tmp_path / "g.graphml", labels="kind").labels.tolist() == [
        7,
        -1,
        7,
    ]


def test_an_attribute_called_id_is_no_id(tmp_path):
    drawn = nx.path_graph(3)
    for v in drawn:
        drawn.nodes[v].update(id=v * 2.0, node=v % 2)
    nx.write_graphml(drawn, tmp_path / "g.graphml")
    graph = read_graphml(tmp_path / "g.graphml", features=["id"], labels="node")
    assert graph.node_ids.tolist() == ["0", "1", "2"]
    np.testing.assert_array_equal(graph.features, [[0], [2], [4]])
    assert graph.labels.tolist() == [0, 1, 0]
