"""Sums by gloo: a `torch.distributed` process group among the members of a gang.

A group lives as long as a window. Where a member is lost the window is given up, as
with any other sum, and the next gang forms a group of whoever is there then. No default
group is touched: a user's own process group in the same process is none of ours.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.distributed
from distributed.comm.addressing import get_address_host

from daskgnn.dataflow.peers import FORM, PeerLost
from daskgnn.dataflow.shares import PartGradient, add_gradients
from daskgnn.dataflow.tree import reduce_known, reduction_tree
from daskgnn.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from daskgnn.dataflow.clock import Clock
    from daskgnn.dataflow.peers import Exchange

_distributed: Any = torch.distributed
_LOOK_SECONDS = 1e-4
"""How often it is looked whether a sum is there, or a member is gone."""


def check_gloo(address: str) -> None:
    """Refuse gloo where it cannot be had, or would send in clear what is encrypted.

    Parameters
    ----------
    address : str
        Of some worker.

    Raises
    ------
    InputError
    """
    if not hasattr(_distributed, "ProcessGroupGloo"):
        raise InputError(
            "gradients='gloo' needs a torch with gloo, and this one has none: use "
            "gradients='tree'"
        )
    if address.startswith("tls://"):
        raise InputError(
            "gradients='gloo' would send gradients in clear beside an encrypted "
            "cluster: use gradients='tree' or 'ring'"
        )


class GlooGroup:
    """A process group of a gang's members.

    Raises
    ------
    PeerLost
        If it does not form in the gang's time, or a member is gone meanwhile.
    """

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self._group: Any = None
        size = len(exchange.gang.members)
        if size == 1:
            return
        patience = timedelta(seconds=exchange.gang.form_seconds)
        host = get_address_host(exchange.gang.members[0][0])

        def store_at(port: int) -> Any:
            first = exchange.me == 0
            given = host, port, None, first, patience
            return _distributed.TCPStore(*given, wait_for_workers=False)

        try:
            mine = store_at(0) if exchange.me == 0 else None
            port = 0 if mine is None else mine.port
            others = exchange.all_gather(FORM, port, exchange.gang.form_seconds)

            def group() -> Any:
                store = store_at(others[0]) if mine is None else mine
                named = _distributed.PrefixStore(exchange.gang.attempt, store)
                options = _options(exchange)
                return _distributed.ProcessGroupGloo(named, exchange.me, size, options)

            self._group = _made_in_time(group, exchange)
        except RuntimeError as error:
            raise PeerLost(str(error)) from error

    def sum(
        self,
        exchange: Exchange,
        step: int,
        shares: dict[int, PartGradient],
        clock: Clock,
    ) -> _GlooSum:
        """Begin the sum of a step with this member's shares, by part."""
        return _GlooSum(self, exchange, shares, clock)

    def add(self, array: np.ndarray) -> Any:
        """Begin to replace an array by the sum of all members' arrays."""
        if self._group is None:
            return None
        try:
            return self._group.allreduce([torch.from_numpy(array)])
        except RuntimeError as error:
            raise PeerLost(str(error)) from error

    def wait(self, work: Any) -> None:
        """Wait for a sum.

        Raises
        ------
        PeerLost
            If a member is gone, has given up, or does not answer in time.
        """
        deadline = time.monotonic() + self.exchange.gang.step_seconds
        while work is not None and not work.is_completed():
            if self.exchange.in_trouble() or time.monotonic() > deadline:
                raise PeerLost("a member of the process group")
            time.sleep(_LOOK_SECONDS)
        try:
            if work is not None:
                work.wait()
        except RuntimeError as error:
            raise PeerLost(str(error)) from error

    def close(self) -> None:
        """Tear the group down; one with a sum under way ends in its own time."""
        group, self._group = self._group, None
        if group is not None:
            holder = [group]
            del group
            threading.Thread(target=holder.clear, daemon=True).start()


class _GlooSum:
    """A sum under way: own parts first, then among members."""

    def __init__(
        self,
        group: GlooGroup,
        exchange: Exchange,
        shares: dict[int, PartGradient],
        clock: Clock,
    ) -> None:
        self._group, self._exchange, self._clock = group, exchange, clock
        with clock.phase("reduce"):
            known = {(part, part + 1): share for part, share in shares.items()}
            reduce_known(reduction_tree(exchange.gang.num_parts), known, add_gradients)
            total, *rest = (known[name] for name in sorted(known))
            for other in rest:
                total = add_gradients(total, other)
            self._total = total
            self._vector = np.array(total.gradient)
            losses = np.atleast_1d(np.asarray(total.loss, np.float64))
            counts = [total.dense_bytes, total.sent_bytes]
            self._facts = np.concatenate([losses, np.array(counts, np.float64)])
        with clock.phase("exchange"):
            self._works = [group.add(a) for a in (self._vector, self._facts)]
            members = len(exchange.gang.members)
            nbytes = self._vector.nbytes + self._facts.nbytes
            # Every number leaves a member twice, but for its own share of them.
            exchange.count(2 * (members - 1) * nbytes // members, 2 * (members - 1))

    def take(self) -> tuple[PartGradient, None]:
        """Wait for the members' sums; return the whole."""
        came = time.time()
        with self._clock.phase("exchange"):
            for work in self._works:
                self._group.wait(work)
        self._exchange.met(came)
        *losses, dense, sent = self._facts
        several = np.ndim(self._total.loss) > 0
        whole = replace(
            self._total,
            gradient=self._vector,
            loss=np.array(losses) if several else float(losses[0]),
            dense_bytes=int(dense),
            sent_bytes=int(sent),
        )
        return whole, None


def _made_in_time(make: Callable[[], Any], exchange: Exchange) -> Any:
    """Return what `make` returns; it may wait long for a member that is gone.

    Raises
    ------
    PeerLost
        If a member is gone, has given up, or does not come in time.
    """
    made: Future[Any] = Future()

    def work() -> None:
        try:
            made.set_result(make())
        except BaseException as error:  # it is for who waits
            made.set_exception(error)

    threading.Thread(target=work, name="daskgnn-gloo", daemon=True).start()
    deadline = time.monotonic() + exchange.gang.form_seconds
    while not made.done():
        if exchange.in_trouble() or time.monotonic() > deadline:
            raise PeerLost("a member of the process group")
        time.sleep(_LOOK_SECONDS)
    return made.result()


def _options(exchange: Exchange) -> Any:
    """Return a group's options: its time-out, and the interface that Dask uses."""
    kind = _distributed.ProcessGroupGloo
    options = kind._Options()
    options._timeout = timedelta(seconds=exchange.gang.step_seconds)
    host = get_address_host(exchange.address)
    options._devices = [kind.create_device(hostname=host)]
    return options
