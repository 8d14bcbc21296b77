"""Sums of a step's gradients over parts, among the members of a gang.

Each takes what this member's parts have, sends at once what it can, and gives the
whole sum when it is asked for. Its bits depend on the parts alone, not on who holds
them.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from daskgnn.dataflow.steps.gradients import PartGradient, add_gradients
from daskgnn.dataflow.steps.ring import add_piece, joined, piece_of
from daskgnn.dataflow.steps.tree import Range, Tree, reduce_known, reduction_tree

if TYPE_CHECKING:
    from daskgnn.dataflow.steps.clock import Clock
    from daskgnn.dataflow.steps.peers import Exchange

SLICED_BYTES = 600_000
"""What slices are to save a member, at least: bytes cost 0.8 ms a megabyte, a message
0.5 ms (docs/measurements/scaling.md)."""

Total = tuple[PartGradient, PartGradient | None]
"""The last one or two sums: adding them is done with the update."""


class Sum(ABC):
    """A sum that the members of a gang compute together."""

    def __init__(
        self,
        exchange: Exchange,
        step: int,
        shares: dict[int, PartGradient],
        clock: Clock,
    ) -> None:
        """Begin the sum of a step with this member's shares, by part."""
        self._exchange, self._step, self._clock = exchange, step, clock
        self._begin(shares)

    @abstractmethod
    def _begin(self, shares: dict[int, PartGradient]) -> None:
        """Send what can be sent at once."""

    @abstractmethod
    def take(self) -> Total:
        """Wait for the peers' shares and return the whole."""


class TreeSum(Sum):
    """The sum of a step's gradients over all parts, in the fixed tree.

    Own pairs are added first, then what the peers have. Where each member sums a slice
    (reduce-scatter, then all-gather), numbers are added in the tree's order as well:
    the same bits.
    """

    adds_own: ClassVar[bool] = True
    """Whether a member adds up what it has before it sends it."""

    def _begin(self, shares: dict[int, PartGradient]) -> None:
        exchange, clock = self._exchange, self._clock
        self._tree: Tree = reduction_tree(exchange.gang.num_parts)
        known: dict[Range, PartGradient] = {(p, p + 1): s for p, s in shares.items()}
        self._known = known
        if self.adds_own:
            with clock.phase("reduce"):
                reduce_known(self._tree, known, add_gradients)
        # A peer needs a partial sum only if we do not have its partner.
        self._sliced = self.adds_own and self._takes_slices()
        with clock.phase("exchange"):
            if self._sliced:
                pieces = [
                    {r: replace(s, gradient=s.gradient[cut]) for r, s in known.items()}
                    for cut in self._slices(len(next(iter(known.values())).gradient))
                ]
                self._known = pieces.pop(exchange.me)
            else:
                # A copy: peers in this process get the object, and `known` changes.
                pieces = [dict(known)] * len(exchange.peers)
            exchange.send(self._step, 0, pieces)

    def take(self) -> Total:
        """Wait for the peers' shares; return the last two sums."""
        with self._clock.phase("exchange"):
            received = self._exchange.receive(self._step, 0)
        for theirs in received:
            self._known.update(theirs)
        with self._clock.phase("reduce"):
            reduce_known(self._tree, self._known, add_gradients)
        left, right = self._tree.rest(self._known)
        if self._sliced:
            return self._whole(add_gradients(left, right) if right else left), None
        return left, right

    def _takes_slices(self) -> bool:
        """Return whether each member had better sum a slice of the gradient.

        That sends fewer bytes, twice as many messages.
        """
        nbytes = next(iter(self._known.values())).gradient.nbytes
        return nbytes * (1 - 2 / len(self._exchange.gang.members)) > SLICED_BYTES

    def _slices(self, length: int) -> list[slice]:
        """Return each member's slice of a gradient."""
        count = len(self._exchange.gang.members)
        cuts = [length * i // count for i in range(count + 1)]
        return [slice(*pair) for pair in pairwise(cuts)]

    def _whole(self, piece: PartGradient) -> PartGradient:
        """Return the sum of all slices' sums, of which one is ours."""
        exchange, name = self._exchange, self._tree.last[0]
        with self._clock.phase("exchange"):
            exchange.send(self._step, 1, [{name: piece}] * len(exchange.peers))
            pieces = exchange.receive(self._step, 1)
        with self._clock.phase("reduce"):
            sums = [each[name].gradient for each in pieces]
            sums.insert(exchange.me, piece.gradient)
            return replace(piece, gradient=np.concatenate(sums))


class PackedSum(TreeSum):
    """The sum of compressed gradients, which every member decompresses and adds."""

    adds_own = False


class RingSum(Sum):
    """Pieces of the vector go around the parts, each part adding its own.

    What a member holds several parts of, it adds without a message.
    """

    def _begin(self, shares: dict[int, PartGradient]) -> None:
        self._shares = shares
        self._count = self._exchange.gang.num_parts
        self._owners = self._exchange.owners()
        with self._clock.phase("reduce"):
            self._pieces = {
                p: piece_of(share, p, self._count) for p, share in shares.items()
            }
        self._pass_on(0)

    def take(self) -> Total:
        """Go around with the peers; return the whole sum."""
        exchange, count = self._exchange, self._count
        came = time.time()
        for turn in range(1, count):
            with self._clock.phase("exchange"):
                pieces = self._received(turn - 1)
            with self._clock.phase("reduce"):
                self._pieces = {
                    part: add_piece(pieces[part], share, (part - turn) % count, count)
                    for part, share in self._shares.items()
                }
            if turn < count - 1:
                self._pass_on(turn)
        with self._clock.phase("exchange"):
            whole = {(p + 1) % count: piece for p, piece in self._pieces.items()}
            exchange.send(self._step, count, [dict(whole)] * len(exchange.peers))
            for theirs in exchange.receive_from(self._step, count, exchange.peers):
                whole.update(theirs)
            exchange.met(came)
        with self._clock.phase("reduce"):
            return joined([whole[chunk] for chunk in range(count)]), None

    def _pass_on(self, turn: int) -> None:
        """Send pieces on whose next part is another member's."""
        exchange = self._exchange
        leaving: dict[str, dict[int, PartGradient]] = {}
        for part, piece in self._pieces.items():
            following = (part + 1) % self._count
            owner = self._owners[following]
            if owner != exchange.me:
                address = exchange.gang.members[owner][0]
                leaving.setdefault(address, {})[following] = piece
        with self._clock.phase("exchange"):
            exchange.send_to(self._step, turn, leaving)

    def _received(self, turn: int) -> dict[int, PartGradient]:
        """Return the pieces that have come to this member's parts, by part."""
        exchange, count = self._exchange, self._count
        found = {
            (part + 1) % count: piece
            for part, piece in self._pieces.items()
            if self._owners[(part + 1) % count] == exchange.me
        }
        senders = {self._owners[part - 1] for part in self._shares} - {exchange.me}
        addresses = [exchange.gang.members[sender][0] for sender in sorted(senders)]
        for theirs in exchange.receive_from(self._step, turn, addresses):
            found.update(theirs)
        return found


SUMS: dict[str, type[Sum]] = {
    "tree": TreeSum,
    "packed": PackedSum,
    "ring": RingSum,
}
