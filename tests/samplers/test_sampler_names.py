"""Samplers by name: what the command lists, and what is said of wrong texts."""

import inspect

import pytest
from training import hub_graph, inside, stored

import daskgnn
from daskgnn.errors import InputError
from daskgnn.train.options.samplers import SAMPLERS, make_sampler

FAN_OUTS = {"neighbor": [2, 2], "labor": [2, 2]}


def test_the_command_lists_every_option_with_what_is_used():
    lines = inside("samplers").splitlines()
    first = lines.index("options and their defaults:") + 1
    listed = dict(line.strip().split(": ", 1) for line in lines[first:])
    assert list(listed) == list(SAMPLERS)
    assert "None" not in "".join(listed.values())
    for name, known in SAMPLERS.items():
        options = inspect.signature(known.load()).parameters
        for option, parameter in options.items():
            if option == "num_neighbors":
                assert listed[name].startswith("--num-neighbors")
            elif parameter.default is not None:
                assert f"{option}={parameter.default}" in listed[name]
        absent = {o for o, p in options.items() if p.default is None}
        assert absent == set(known.absent)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("labour", "is unknown, expected one of neighbor, .*: did you mean 'labor'?"),
        ("ladies:sizes=5", "has no option 'sizes', .* did you mean 'size'?"),
        ("ladies:size", "'size' is not an option with a value"),
        ("cluster:clusters=no", "'cluster': clusters='no', expected a whole number"),
        ("fastgcn:skip=1", "'fastgcn': skip=1, expected true or false: fastgcn:skip="),
    ],
)
def test_wrong_texts_get_one_line(text, said):
    with pytest.raises(InputError, match=said) as caught:
        make_sampler(text, None)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["labor", "cluster", "saint", "shadow"])
def test_samplers_that_need_whole_rows_say_so(tmp_path, text):
    path = stored(hub_graph(), tmp_path / "cut.zarr", method="hdrf")
    graph = daskgnn.open_graph(path, 2)
    sampler = make_sampler(text, FAN_OUTS.get(text))
    with pytest.raises(InputError, match=f"{text}.* needs .* is a vertex-cut") as said:
        sampler.check(graph)
    assert "\n" not in str(said.value)
