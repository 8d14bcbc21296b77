"""The one place where arrays become tensors, and tensors arrays.

Everything else of the package holds numpy arrays, or tensors that came from here.
"""

from __future__ import annotations

import numpy as np
import torch

BFLOAT16 = torch.bfloat16


class Device:
    """The CPU, whose tensors share memory with arrays."""

    def tensor(self, array: np.ndarray) -> torch.Tensor:
        """Return a tensor that shares an array's memory, if that is writeable.

        uint16 arrays are the bits of bfloat16.
        """
        return self._shared(array) if array.flags.writeable else self.copy(array)

    def copy(self, array: np.ndarray) -> torch.Tensor:
        """Return a tensor of its own memory."""
        return self._shared(np.array(array))

    def array(self, x: torch.Tensor) -> np.ndarray:
        """Return an array that shares a tensor's memory; bfloat16 as its bits."""
        x = x.detach()
        return (x.view(torch.uint16) if x.dtype == BFLOAT16 else x).numpy()

    def _shared(self, array: np.ndarray) -> torch.Tensor:
        tensor = torch.from_numpy(array)
        return tensor.view(BFLOAT16) if tensor.dtype == torch.uint16 else tensor


CPU = Device()
