"""The smallest of each row of distances, in order."""

from __future__ import annotations

import numpy as np

from daskgnn.kernels.jit import njit

Array = np.ndarray


@njit(cache=True, nogil=True)
def nearest(distances: Array, dilation: int, out: Array) -> None:
    """Write the places of each row's smallest entries, smallest first.

    Of equal entries the first counts as smaller.

    Parameters
    ----------
    distances
        [R, M].
    dilation
        Every so many-th is written, from the first on.
    out
        int64 [R, k], written; M is at least k times `dilation`.
    """
    rows, count = out.shape
    most = (count - 1) * dilation + 1
    values = np.empty(most, distances.dtype)
    places = np.empty(most, np.int64)
    for i in range(rows):
        known = 0
        for j in range(distances.shape[1]):
            value = distances[i, j]
            if known == most and not value < values[most - 1]:
                continue
            last = known if known < most else most - 1
            known = min(known + 1, most)
            while last > 0 and values[last - 1] > value:
                values[last] = values[last - 1]
                places[last] = places[last - 1]
                last -= 1
            values[last] = value
            places[last] = j
        for n in range(count):
            out[i, n] = places[n * dilation]
