"""Memory that several processes read: what is in it, who may open it, who keeps it."""

import os
import pickle
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from dask.sizeof import sizeof
from training import planted_graph, small_sage, stored, trainer

from daskgnn.dataflow.part import PartBlocks, PartSource, load_part
from daskgnn.dataflow.window import prepare_window
from daskgnn.graph.sources.gcxs import csr_block
from daskgnn.kernels.shared import SharedValue, memory_name
from daskgnn.sampling import NeighborSampler
from daskgnn.train.compute.program import packed_sampler
from daskgnn.train.plan import Window, WindowPlanner

pytestmark = pytest.mark.skipif(
    memory_name() is None, reason="no memory that processes can share here"
)

ARRAYS = {
    "rows": np.arange(12, dtype=np.float32).reshape(3, 4),
    "none": np.empty((0, 5), np.int32),
    "bits": np.arange(7, dtype=np.uint16),
    "yes": np.array([True, False]),
}
READER = """
import pickle, sys
handle = pickle.load(sys.stdin.buffer)
from daskgnn.kernels.shared import SharedValue
arrays = SharedValue.attach(handle).value()
print("open", flush=True)
sys.stdin.buffer.read(1)
pickle.dump(arrays, sys.stdout.buffer)
"""


def is_attached(blocks):
    """Return whether the memory of blocks is another process's."""
    return blocks._shared is not None and not blocks.held_bytes


def reader(handle):
    """Start a process that opens shared arrays, and waits."""
    process = subprocess.Popen(
        [sys.executable, "-c", READER], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    process.stdin.write(pickle.dumps(handle))
    process.stdin.flush()
    return process


def check(found, expected=ARRAYS):
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def test_another_process_reads_what_its_holder_has_dropped():
    shared = SharedValue.of(ARRAYS)
    process = reader(shared.handle)
    assert process.stdout.readline() == b"open\n"
    del shared
    found, _ = process.communicate(b".")
    check(pickle.loads(found))


def test_nobody_writes():
    shared = SharedValue.of(ARRAYS)
    SharedValue.attach(shared.handle).value()["rows"][0, 0] = 1
    path = f"/proc/self/fd/{shared.handle.descriptor}"
    descriptor = os.open(path, os.O_RDWR)
    try:
        with pytest.raises(PermissionError):
            os.pwrite(descriptor, b"x", 0)
        with pytest.raises(PermissionError):
            os.truncate(path, 0)
    finally:
        os.close(descriptor)
    check(shared.value())


def test_what_is_gone_is_not_opened():
    gone = SharedValue.of(ARRAYS).handle
    with pytest.raises(FileNotFoundError):
        SharedValue.attach(gone)
    # Another file has taken its number meanwhile.
    other = SharedValue.of({"other": np.zeros(3)})
    taken = replace(gone, descriptor=other.handle.descriptor)
    with pytest.raises(FileNotFoundError, match="expected daskgnn-"):
        SharedValue.attach(taken)


def test_arrays_outlive_what_gave_them():
    check(SharedValue.of(ARRAYS).value())


def test_no_descriptor_is_left():
    before = os.listdir("/proc/self/fd")
    shared = SharedValue.of(ARRAYS)
    attached = SharedValue.attach(shared.handle)
    assert len(os.listdir("/proc/self/fd")) > len(before)
    del shared, attached
    assert len(os.listdir("/proc/self/fd")) == len(before)


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    rng = np.random.default_rng(0)
    sparse = rng.random((90, 30)) * (rng.random((90, 30)) < 0.1)
    weight = (rng.random(450) + 0.1).astype(np.float32)
    folder = tmp_path_factory.mktemp("graphs")
    graphs = {
        "plain": planted_graph(90),
        "weighted": planted_graph(90, edge_weight=weight),
        "sparse": planted_graph(90, features=sparse.astype(np.float32)),
    }
    return {
        name: stored(graph, folder / f"{name}.zarr") for name, graph in graphs.items()
    }


def by(sample_by):
    return packed_sampler(NeighborSampler([4, 3], sample_by))


def source_of(path, **changes):
    run = trainer(path, 2, None)
    book = run.graph.partition_book
    source = PartSource(
        run.graph.source,
        int(book[1]),
        int(book[2]),
        "float32",
        False,
        by("uniform"),
    )
    return replace(source, **changes)


def arrays_of(blocks):
    block, features = blocks.adjacency, blocks.features
    found = {
        "indptr": block.indptr,
        "indices": block.indices,
        "ids": block.original_ids,
        "weighted_degree": block.weighted_degree,
        "labels": blocks.labels,
    }
    if block.weights is not None:
        found["weights"] = block.weights
    found |= blocks.rows.data
    if isinstance(features, np.ndarray):
        return {**found, "features": features}
    return {**found, "features": features.todense()}


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("plain", {}),
        ("plain", {"feature_dtype": "bfloat16"}),
        ("plain", {"packed": by("degree"), "normalize_features": True}),
        ("weighted", {"packed": by("edge_weight")}),
        ("sparse", {}),
    ],
)
def test_a_part_is_the_same_shared_sent_and_loaded_again(paths, kind, changes):
    source = source_of(paths[kind], **changes)
    expected = arrays_of(load_part(source, share=False))
    shared = load_part(source, share=True)
    check(arrays_of(shared), expected)
    sent = pickle.dumps(shared)
    assert len(sent) < 3000
    copy = pickle.loads(sent)
    assert is_attached(copy)
    assert sizeof(copy) < 1000 < sizeof(shared)
    again = pickle.dumps(copy)
    del shared
    check(arrays_of(copy), expected)
    # From one that was sent to the next, without the one who loaded it.
    check(arrays_of(pickle.loads(again)), expected)
    del copy
    late = pickle.loads(again)
    assert not is_attached(late)
    size = sizeof(late)  # asked on a worker's event loop: nothing is read for it
    assert size > 1000
    assert late._content is None
    check(arrays_of(late), expected)
    assert sizeof(late) == size
    # It is shared once more.
    assert len(pickle.dumps(late)) < 3000
    check(arrays_of(pickle.loads(pickle.dumps(late))), expected)


def test_sparse_features_have_their_size(paths):
    for share in (True, False):
        blocks = load_part(source_of(paths["sparse"]), share=share)
        held = sum(array.nbytes for array in arrays_of(blocks).values())
        held -= arrays_of(blocks)["features"].nbytes
        held += blocks.features.data.nbytes + blocks.features.indices.nbytes
        held += blocks.features.indptr.nbytes
        assert sizeof(blocks) == pytest.approx(held, abs=1000)


def test_a_part_that_is_not_shared_is_sent_whole(paths):
    source = source_of(paths["plain"])
    blocks = load_part(source, share=False)
    expected = arrays_of(blocks)
    os.rename(paths["plain"], paths["plain"] + "-hidden")
    try:
        check(arrays_of(pickle.loads(pickle.dumps(blocks))), expected)
    finally:
        os.rename(paths["plain"] + "-hidden", paths["plain"])


def prepared(run, memories):
    planner = WindowPlanner(run.plan, run.graph.num_parts, run.graph.index_dtype)
    seeds = planner.seeds(Window(0, 0, 0, 3, False))
    tasks, keys = prepare_window(run.deployment.preparation, 0, seeds, memories)
    run.executor.submit(tasks, keys)
    return tasks, run.executor.result(keys)


@pytest.mark.parametrize("kind", ["plain", "weighted", "sparse"])
@pytest.mark.parametrize("model", [None, "dropout"])
@pytest.mark.parametrize(
    "memories", [["a"] * 4, ["a", "b", "a", "b"], ["a", "a", "b", "c"]]
)
def test_reading_in_place_changes_no_bit_and_no_count(paths, kind, model, memories):
    options = {}
    if model == "dropout":  # the first layer is given whole rows
        options["model"] = lambda graph: small_sage(graph, input_dropout=0.3)
    run = trainer(paths[kind], 4, None, **options)
    deployment = run.deployment
    plan = deployment.preparation
    inputs = replace(plan.inputs, remote_aggregation=False)
    deployment.preparation = replace(plan, inputs=inputs)
    tasks, sent = prepared(run, None)
    fewer, read = prepared(run, memories)
    assert len(fewer) < len(tasks)
    for part, (one, other) in enumerate(zip(sent, read, strict=True)):
        for step, same in zip(one.steps, other.steps, strict=True):
            assert step.x.tobytes() == same.x.tobytes()
            if step.aggregated is not None:
                assert step.aggregated.tobytes() == same.aggregated.tobytes()
            np.testing.assert_array_equal(step.labels, same.labels)
            for name in ("original_ids", "weighted_degree", "degree"):
                found, again = getattr(step.graph, name), getattr(same.graph, name)
                np.testing.assert_array_equal(found, again)
            for name in ("indptr", "indices"):
                found, again = (getattr(s.graph.rows[0], name) for s in (step, same))
                np.testing.assert_array_equal(found, again)
        np.testing.assert_array_equal(one.traffic.rows, other.traffic.rows)
        np.testing.assert_array_equal(one.traffic.nbytes, other.traffic.nbytes)
        near = np.array([m == memories[part] for m in memories])
        assert not other.traffic.messages[near].any()
        np.testing.assert_array_equal(
            one.traffic.messages[~near], other.traffic.messages[~near]
        )


def test_a_block_built_by_hand_travels(paths):
    """Blocks of a rehearsal have no source."""
    content = load_part(source_of(paths["sparse"]), share=False).content
    features = content.features
    data = (features.indptr, features.indices, features.data)
    content = replace(content, features=csr_block(*data, features.shape))
    copy = pickle.loads(pickle.dumps(PartBlocks(content)))
    check(arrays_of(copy), arrays_of(PartBlocks(content)))


MANY = """
import resource
import numpy as np
from daskgnn.kernels.shared import SharedValue, memory_name
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
assert memory_name()
held = [SharedValue.of({"a": np.arange(3)}) for _ in range(100)]
print(sum(int(one.value()["a"].sum()) for one in held))
"""


def test_many_parts_are_not_too_many_open_files():
    done = subprocess.run(
        [sys.executable, "-c", MANY], capture_output=True, text=True, check=True
    )
    assert done.stdout == "300\n"
