"""Sums by a process group of torch.distributed among Dask's workers."""

import os
import threading
from functools import partial

import numpy as np
import pytest
from training import AtStep, die, planted_graph, stored, trainer

from daskgnn.dataflow.gang import Gang
from daskgnn.dataflow.peers import PeerLost
from daskgnn.errors import InputError
from daskgnn.train import loop
from daskgnn.train.cluster import own_cluster
from daskgnn.train.gloo import GlooGroup, check_gloo

OPTIONS = {"batch_size": 24, "window": 3, "gradients": "gloo"}


@pytest.fixture(autouse=True)
def _windows_of_all_steps_allowed(monkeypatch):
    monkeypatch.setattr(loop, "WINDOW_SECONDS", 1e6)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return stored(planted_graph(200), tmp_path_factory.mktemp("graph") / "g.zarr")


def fitted(path, client, epochs=2, **options):
    run = trainer(path, 3, client, **{**OPTIONS, **options})
    run.fit(epochs)
    return run


def close(run, wanted, atol=2e-5):
    found, wanted = (r.course.state.parameters for r in (run, wanted))
    np.testing.assert_allclose(found, wanted, atol=atol)


SGD = {"optimizer": "sgd", "lr": 0.1}


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_a_process_group_equals_the_tree_to_rounding(path, workers):
    wanted = fitted(path, None, gradients="tree", **SGD)
    with own_cluster(workers) as client:
        run = fitted(path, client, steps="window", checksum_every=2, **SGD)
        assert run.course.forms.keys() == {"window"}
        close(run, wanted)
        again = fitted(path, client, steps="window", **SGD)
        # The same workers add in the same order.
        assert again.params_sha256 == run.params_sha256
        local = {"local_steps": 2, **SGD}
        run = fitted(path, client, steps="window", **local)
        close(run, fitted(path, None, **local))
        facts = run.summary()
    wanted = fitted(path, None, gradients="tree", **local).summary()
    for name in ("gradient_bytes", "sent_gradient_bytes"):
        assert facts[name] == wanted[name]


def test_without_gangs_sums_are_those_of_the_tree(path):
    wanted = fitted(path, None, gradients="tree").params_sha256
    assert fitted(path, None).params_sha256 == wanted


@pytest.mark.timeout(120)
@pytest.mark.filterwarnings(r"ignore:unclosed <socket.*'0.0.0.0', 0:ResourceWarning")
def test_a_group_forms_again_after_a_worker_is_killed(path):
    wanted = fitted(path, None, epochs=8, gradients="tree", **SGD)
    with own_cluster(2) as client:
        pid = min(client.run(os.getpid).values())
        run = fitted(
            path,
            client,
            8,
            steps="window",
            progress=AtStep(6, partial(die, pid)),
            **SGD,
        )
        assert pid not in client.run(os.getpid).values()
    close(run, wanted, 1e-4)
    forms = run.course.forms
    assert forms["window"] > 15
    assert sum(forms.values()) == 40


class Alone:
    """An exchange between two members that say hello and never come."""

    def __init__(self, me, form_seconds, port=None, *, in_trouble=False):
        here = "tcp://127.0.0.1:1"
        self.gang = Gang("a", ((here, (0,)), (here, (1,))), form_seconds, 600)
        self.me, self.address, self.port = me, here, port
        self.in_trouble = lambda: in_trouble

    def all_gather(self, number, content, seconds):
        self.port = self.port or content
        return [self.port]


@pytest.mark.timeout(60, method="thread")  # what waits in C++ hears no signal
@pytest.mark.parametrize(
    "how", [{"form_seconds": 0.5}, {"form_seconds": 500, "in_trouble": True}]
)
def test_a_peer_that_never_comes_is_not_waited_for(how):
    first = Alone(0, **how)
    before = set(threading.enumerate())
    with pytest.raises(PeerLost):
        GlooGroup(first)
    (waiting,) = set(threading.enumerate()) - before
    # Here it comes after all, so that nothing is left behind.
    late = GlooGroup(Alone(1, 30, first.port))
    waiting.join(30)
    assert not waiting.is_alive()
    late.close()


def test_gloo_beside_an_encrypted_cluster_is_refused():
    check_gloo("tcp://127.0.0.1:1")
    with pytest.raises(InputError, match="in clear"):
        check_gloo("tls://127.0.0.1:1")
