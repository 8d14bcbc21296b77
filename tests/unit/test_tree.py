"""The shape of sums over parts: fixed by their number, whoever sums."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daskgnn.dataflow.steps.tree import reduce_known, reduction_tree


def pair(left, right):
    """Add so that every order and every bracket shows."""
    return (left, right)


def leaves(structure):
    """Return the parts of nested pairs, left to right."""
    if not isinstance(structure, tuple):
        return [structure]
    left, right = structure
    return leaves(left) + leaves(right)


def depth(structure):
    """Return how many sums lie above the deepest part."""
    if not isinstance(structure, tuple):
        return 0
    return 1 + max(map(depth, structure))


def by_hand(parts):
    """Add neighbours level by level until one or two are left."""
    row = list(parts)
    while len(row) > 2:
        above = [pair(*row[i : i + 2]) for i in range(0, len(row) - 1, 2)]
        row = above + row[len(above) * 2 :]
    return row


def all_parts(num_parts):
    return {(part, part + 1): part for part in range(num_parts)}


def left_over(tree, known):
    """Return what is left in `known`, which must be the tree's last ranges."""
    assert set(known) == set(tree.last)
    return [known[r] for r in tree.last]


@pytest.mark.parametrize("num_parts", range(1, 71))
def test_every_part_is_summed_once_in_order(num_parts):
    tree = reduction_tree(num_parts)
    assert len(tree.last) == min(num_parts, 2)
    assert len(tree.sums) == num_parts - len(tree.last)
    known = all_parts(num_parts)
    reduce_known(tree, known, pair)
    rest = left_over(tree, known)
    assert rest == by_hand(range(num_parts))
    assert [p for r in rest for p in leaves(r)] == list(range(num_parts))
    assert max(map(depth, rest)) <= max(num_parts - 1, 1).bit_length()
    for (first, last), structure in zip(tree.last, rest, strict=True):
        assert leaves(structure) == list(range(first, last))


@pytest.mark.parametrize("num_parts", range(1, 71))
def test_sums_are_of_neighbours_made_before(num_parts):
    ready = set(all_parts(num_parts))
    for left, right in reduction_tree(num_parts).sums:
        assert left[1] == right[0]
        ready -= {left, right}  # neither is used again
        assert (left[0], right[1]) not in ready
        ready.add((left[0], right[1]))
    assert ready == set(reduction_tree(num_parts).last)


@given(data=st.data(), num_parts=st.integers(1, 40))
@settings(max_examples=100, deadline=None)
def test_members_sum_their_own_first(data, num_parts):
    """Parts are dealt to members in any way; each sums what it can before sending."""
    member_of = data.draw(
        st.lists(st.integers(0, 4), min_size=num_parts, max_size=num_parts)
    )
    tree = reduction_tree(num_parts)
    members = []
    for member in range(5):
        known = {
            r: p for r, p in all_parts(num_parts).items() if member_of[p] == member
        }
        reduce_known(tree, known, pair)
        members.append(known)
    everything = {}
    for known in members:
        assert not everything.keys() & known.keys()
        everything.update(known)
    reduce_known(tree, everything, pair)
    assert left_over(tree, everything) == by_hand(range(num_parts))


@given(data=st.data(), num_parts=st.integers(1, 40))
@settings(max_examples=100, deadline=None)
def test_any_pairs_may_have_been_summed_before(data, num_parts):
    tree = reduction_tree(num_parts)
    known = all_parts(num_parts)
    for left, right in tree.sums:
        if left in known and right in known and data.draw(st.booleans()):
            known[left[0], right[1]] = pair(known.pop(left), known.pop(right))
    reduce_known(tree, known, pair)
    assert left_over(tree, known) == by_hand(range(num_parts))


def test_what_is_missing_is_left_alone():
    tree = reduction_tree(6)
    known = {(0, 1): 0, (2, 3): 2, (3, 4): 3, (5, 6): 5}
    reduce_known(tree, known, pair)
    assert known == {(0, 1): 0, (2, 4): (2, 3), (5, 6): 5}
