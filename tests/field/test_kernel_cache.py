"""Compiled kernels: one cache for all copies of the same sources."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numba
import pytest

import daskgnn
from daskgnn.kernels import jit, warmup

PACKAGE = Path(daskgnn.__file__).parent


def test_all_kernels_share_a_folder_that_the_user_owns():
    for kernel in warmup._NEEDED:
        place = Path(kernel._cache.cache_path)
        source = Path(kernel.py_func.__code__.co_filename)
        assert place.parent == jit.cache_folder()
        assert jit.sources_hash(source) in place.name
    assert PACKAGE not in jit.cache_folder().parents


def test_every_kernel_is_of_a_source_that_is_hashed():
    """Numba's own `njit` is used nowhere else, so none has another cache."""
    users = [p for p in PACKAGE.rglob("*.py") if "njit" in p.read_text()]
    assert users
    assert all(map(jit.is_source, users))
    for path in users:
        if path != PACKAGE / "kernels" / "jit.py":
            assert "from daskgnn.kernels.jit import njit" in path.read_text(), path


CALLING = """
from daskgnn.kernels.jit import njit
from daskgnn.kernels.called import inner

@njit(cache=True)
def outer():
    return inner()
"""
CALLED = """
from daskgnn.kernels.jit import njit

@njit(cache=True)
def inner():
    return {}
"""
RUN = """
from numba.core import event
from daskgnn.kernels.calling import outer
with event.install_recorder("numba:compile") as seen:
    print(outer(), len(seen.buffer) > 0)
"""


def ran(folder, cache):
    """Run the copy of the package in a folder.

    Without bytecode: by the time and the size of a file that is written twice in a
    second, that of the first one would be taken for that of the second.
    """
    done = subprocess.run(
        [sys.executable, "-B", "-c", RUN],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder), "XDG_CACHE_HOME": str(cache)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.returncode, done.stderr
    return done.stdout.split()


def copied(folder, value):
    """Make a package of the same name whose kernel calls another one."""
    kernels = folder / "daskgnn" / "kernels"
    kernels.mkdir(parents=True)
    (folder / "daskgnn" / "__init__.py").touch()
    (kernels / "__init__.py").touch()
    shutil.copy(PACKAGE / "kernels" / "jit.py", kernels)
    (kernels / "calling.py").write_text(CALLING)
    (kernels / "called.py").write_text(CALLED.format(value))
    return folder


@pytest.mark.slow
@pytest.mark.skipif(bool(numba.config.CACHE_DIR), reason="numba has a folder set")
def test_copies_share_it_and_a_change_of_what_is_called_is_seen(tmp_path):
    cache = tmp_path / "cache"
    assert ran(copied(tmp_path / "one", 1), cache) == ["1", "True"]
    assert ran(copied(tmp_path / "two", 1), cache) == ["1", "False"]
    # A source that it does not depend on may change.
    (tmp_path / "two/daskgnn/kernels/other.py").write_text(CALLED.format(3))
    assert ran(tmp_path / "two", cache) == ["1", "False"]
    (tmp_path / "two/daskgnn/kernels/called.py").write_text(CALLED.format(2))
    assert ran(tmp_path / "two", cache) == ["2", "True"]
