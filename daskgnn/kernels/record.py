"""Records of arrays, which know how large they are."""

from __future__ import annotations


class ArrayRecord:
    """What a dataclass of arrays, and of such records, inherits."""

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        values = (getattr(self, name) for name in self.__dataclass_fields__)  # type: ignore[attr-defined]
        return sum(getattr(value, "nbytes", 0) for value in values)
