"""Images from bytes to numbers, augmented by counters.

What happens to an image is a hash of the epoch's key and the image's id: it is the
same on any worker, in any batch and after a resume.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from daskgnn.kernels.counter import AUGMENTATION, below, combine, derive_key, draw
from daskgnn.kernels.jit import njit

Array = np.ndarray


class Changes(NamedTuple):
    """What may be done to an image in training."""

    shift: int = 0
    """Pixels by which it is moved at most, each way; black comes in."""
    flip: bool = False
    """Whether one in two is mirrored, left to right."""
    erase: int = 0
    """Side of the square that is blackened, anywhere in the image; 0: none."""


NOTHING = Changes()


def epoch_key(seed: int, epoch: int) -> np.uint64:
    """Return the key of an epoch's augmentation."""
    return np.uint64(derive_key(AUGMENTATION, seed, epoch))


def image_values(
    pixels: Array, ids: Array, key: np.uint64, changes: Changes = NOTHING
) -> Array:
    """Return images as float32 [n, C, H, W] in -1..1, changed as their ids say.

    Parameters
    ----------
    pixels
        uint8 [n, C, H, W].
    ids
        int64 [n], the images' ids.
    key
        Of the epoch: see `epoch_key`.
    changes
        What may be done.
    """
    out = np.empty(pixels.shape, np.float32)
    if changes == NOTHING:
        # As below: one rounding, of an exact difference.
        np.subtract(pixels, np.float32(127.5), out=out)
        out *= np.float32(1 / 127.5)
        return out
    given = np.ascontiguousarray(pixels), np.ascontiguousarray(ids, np.int64)
    _change(*given, key, changes.shift, changes.flip, changes.erase, out)
    return out


@njit(cache=True, nogil=True)
def _change(
    pixels: Array,
    ids: Array,
    key: np.uint64,
    shift: int,
    flip: bool,
    erase: int,
    out: Array,
) -> None:
    count, channels, height, width = pixels.shape
    middle, scale = np.float32(127.5), np.float32(1 / 127.5)
    black = -middle * scale
    for n in range(count):
        own = combine(key, np.uint64(ids[n]))
        down = below(draw(own, 0), 2 * shift + 1) - shift
        right = below(draw(own, 1), 2 * shift + 1) - shift
        mirrored = flip and below(draw(own, 2), 2) == 1
        top = below(draw(own, 3), height) - erase // 2
        left = below(draw(own, 4), width) - erase // 2
        for c in range(channels):
            for i in range(height):
                source = i + down
                gone = i >= top and i < top + erase
                for j in range(width):
                    place = (width - 1 - j if mirrored else j) + right
                    inside = 0 <= source < height and 0 <= place < width
                    if gone and left <= j < left + erase:
                        inside = False
                    if inside:
                        value = np.float32(pixels[n, c, source, place])
                        out[n, c, i, j] = (value - middle) * scale
                    else:
                        out[n, c, i, j] = black
