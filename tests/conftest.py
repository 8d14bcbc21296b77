"""Fixtures shared by all tests, and the table of trials."""

import os
import signal
import sys
from contextlib import ExitStack
from pathlib import Path

# What costs more processor time than most tests, here and in processes started from
# here: every process of a cluster looks fifty times a second whether its loop is late,
# and torch's threads wait for work by turning round and round.
os.environ.setdefault("DASK_DISTRIBUTED__ADMIN__TICK__INTERVAL", "1s")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import dask
import pytest
from hypothesis import settings

# Helpers beside the tests: clusters.py, faults.py, table.py, training.py.
sys.path.insert(0, str(Path(__file__).parent))

from clusters import SharedClusters
from table import Trial, keep, kept, table
from training import planted_graph, stored

from daskgnn.cluster.clusters import OWN_CLUSTER

# `make test-all` asks for the second.
settings.register_profile("quick", max_examples=40)
settings.register_profile("thorough", max_examples=200)
settings.load_profile("quick")

TOLD = pytest.StashKey[Trial]()
ALL = pytest.StashKey[list]()


def pytest_addoption(parser):
    group = parser.getgroup("trials of faults")
    group.addoption("--trials", type=int, help="Run so many of each fault at most.")
    group.addoption("--keep-trials", help="Add them to the table in this file.")


def pytest_configure(config):
    config.stash[ALL] = []
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell's background jobs, and what they start, are deaf to Ctrl-C.
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    most = config.getoption("--trials")
    if most is not None:
        over = [item for item in items if _trial_of(item) >= most]
        config.hook.pytest_deselected(items=over)
        items[:] = [item for item in items if item not in over]
    _sort_by_clusters(items)


def _sort_by_clusters(items):
    """Have the files that share clusters come first: these end before all others."""
    users = {
        name: {item.path for item in items if name in item.fixturenames}
        for name in ("lasting_clusters", "mortal_clusters")
    }
    lasting, mortal = users.values()

    def place(item):
        if item.path in lasting:
            return int(item.path in mortal)
        return 2 if item.path in mortal else 3

    items.sort(key=place)


def _trial_of(item):
    callspec = getattr(item, "callspec", None)
    return callspec.params.get("trial", 0) if callspec else 0


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    told = item.stash.get(TOLD, None)
    if told is None or call.when != "call" or outcome.get_result().skipped:
        return
    told.passed = outcome.get_result().passed
    item.config.stash[ALL].append(told)
    if file := item.config.getoption("--keep-trials"):
        keep(told, file)


def pytest_terminal_summary(terminalreporter, config):
    file = config.getoption("--keep-trials")
    trials = kept(file) if file and Path(file).exists() else config.stash[ALL]
    if trials:
        terminalreporter.section("trials")
        for line in table(trials):
            terminalreporter.line(line)


@pytest.fixture
def told(request):
    """What this test tells of a trial, for the table."""
    request.node.stash[TOLD] = Trial(request.node.originalname)
    return request.node.stash[TOLD]


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Return the folder of real data, or skip, saying so."""
    folder = os.environ.get("DASKGNN_DATA_DIR")
    if not folder or not Path(folder).is_dir():
        pytest.skip("real data is absent: set DASKGNN_DATA_DIR to its folder")
    return Path(folder)


@pytest.fixture(scope="session")
def path(tmp_path_factory) -> str:
    """Return the path of a store of 400 nodes, which most files train on."""
    return stored(planted_graph(), tmp_path_factory.mktemp("graph") / "g.zarr")


@pytest.fixture(scope="session")
def small_path(tmp_path_factory) -> str:
    """Return the path of a store of 200 nodes."""
    return stored(planted_graph(200), tmp_path_factory.mktemp("graph") / "g.zarr")


@pytest.fixture(scope="session")
def lasting_clusters():
    """Clusters for all tests that leave them as they are."""
    found = SharedClusters()
    yield found
    found.close()


@pytest.fixture(scope="session")
def mortal_clusters():
    """Clusters for tests that kill workers, in whose place others start."""
    found = SharedClusters()
    yield found
    found.close()


@pytest.fixture
def cluster(request, lasting_clusters):
    """Return a function of a number of workers: the client of their cluster."""
    with dask.config.set(OWN_CLUSTER), ExitStack() as stack:

        def connected(workers):
            client = lasting_clusters(workers)
            stack.enter_context(client.as_current())
            return client

        yield connected
    lasting_clusters.check()
    _close_after_last(request, "lasting_clusters", lasting_clusters)


@pytest.fixture
def killable(request, mortal_clusters):
    """Return the client of two workers that may be killed."""
    with dask.config.set(OWN_CLUSTER):
        client = mortal_clusters(2)
        client.wait_for_workers(2, timeout=120)
        with client.as_current():
            yield client
    _close_after_last(request, "mortal_clusters", mortal_clusters)


def _close_after_last(request, name, clusters):
    """End clusters after the last test that uses them: idle ones take time, too."""
    users = [i for i in request.session.items if name in i.fixturenames]
    if request.node is users[-1]:
        clusters.close()
