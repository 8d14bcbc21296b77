"""Pickle classes of the user's modules by value, for workers without them."""

from __future__ import annotations

import os
import sys
import sysconfig
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from typing import TYPE_CHECKING, Any

import cloudpickle

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def user_code_by_value() -> Iterator[None]:
    """Have cloudpickle send modules that are not installed by value."""
    with ExitStack() as registered:
        for module in _user_modules():
            with suppress(ValueError):
                cloudpickle.register_pickle_by_value(module)
                registered.callback(cloudpickle.unregister_pickle_by_value, module)
        yield


_others: set[str] = set()
"""Names of modules that are none of the user's, of the thousands that are imported."""


def _user_modules() -> list[Any]:
    """Return the imported modules that workers may lack."""
    mine = []
    for name in sys.modules.keys() - _others:
        module = sys.modules.get(name)
        if _is_user_module(module):
            mine.append(module)
        else:
            _others.add(name)
    return mine


def _is_user_module(module: Any) -> bool:
    """Return whether a module is neither installed, nor ours, nor ``__main__``."""
    name = getattr(module, "__name__", "")
    path = getattr(module, "__file__", None)
    if not path or name in ("__main__", "__mp_main__") or sys.modules.get(name) is None:
        return False
    if name.partition(".")[0] == "daskgnn":
        return False
    installed = "site-packages" in path or "dist-packages" in path
    return not installed and not path.startswith(_installed_roots())


@cache
def _installed_roots() -> tuple[str, ...]:
    """Return the folders of Python and of what is installed for it."""
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    return tuple({sysconfig.get_path(name) + os.sep for name in names})
