"""What own workers do with memory: blocks stay in it, and what loading took is free."""

import platform
import subprocess
import sys

import pytest

from daskgnn.dataflow import part
from daskgnn.dataflow.part import PartSource, load_part
from daskgnn.graph.sources.stored import ZarrSource
from daskgnn.sampling import NeighborSampler
from daskgnn.train.compute.program import packed_sampler

SAMPLER = packed_sampler(NeighborSampler([2, 2]))


def limits(dask_worker):
    """Return whether data is always in memory, and from where it would not be."""
    manager = dask_worker.memory_manager
    return (
        type(dask_worker.data) is dict,
        manager.memory_target_fraction,
        manager.memory_spill_fraction,
        manager.memory_pause_fraction,
    )


def test_blocks_are_neither_spilled_nor_do_they_pause_a_worker(cluster):
    (found,) = cluster(1).run(limits).values()
    assert found == (True, False, False, False)


KEPT = """
import psutil
from daskgnn.kernels.allocator import keep_freed_memory, return_freed_memory

def held():
    return psutil.Process().memory_info().rss

assert keep_freed_memory()
begin = held()
taken = [bytearray(8_000_000) for _ in range(50)]
del taken
kept = held() - begin
return_freed_memory()
print(kept, held() - begin)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone is told")
def test_what_is_freed_is_kept_until_it_is_returned():
    done = subprocess.run(
        [sys.executable, "-c", KEPT], capture_output=True, text=True, check=True
    )
    kept, left = map(int, done.stdout.split())
    assert kept > 350_000_000
    assert left < 50_000_000


def test_what_loading_took_is_returned(path, monkeypatch):
    done = []
    monkeypatch.setattr(part, "return_freed_memory", lambda: done.append(True))
    source = PartSource(ZarrSource(path), 0, 400, "float32", False, SAMPLER)
    load_part(source, share=False)
    assert done == [True]
