"""Who can talk to a cluster: this machine alone, and with TLS holders of a certificate.

Whoever can talk to a Dask scheduler or worker can run any code on it.
"""

import json
import socket
import ssl
import time

import psutil
import pytest
from clusters import default_settings
from distributed import Client
from distributed.security import Security
from training import dask_processes, inside, invoked, mostly_slow, trainer

from daskgnn.cluster.clusters import own_cluster
from daskgnn.cluster.tls import Encryption, connection_args
from daskgnn.errors import InputError
from daskgnn.train import run as runs

OPEN_SOCKET = r"ignore:unclosed <socket.*'0.0.0.0', 0:ResourceWarning"

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings(OPEN_SOCKET),
]


@pytest.fixture(scope="module")
def undisturbed(path):
    run = trainer(path, 2, None)
    run.fit(2)
    return run.params_sha256


def listening():
    """Return the addresses that this process and those it started listen on."""
    me = psutil.Process()
    return {
        connection.laddr[:2]
        for process in [me, *me.children(recursive=True)]
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }


def test_an_own_cluster_listens_on_this_machine_alone(path):
    before = listening()
    with own_cluster(2) as client:
        trainer(path, 2, client).fit(1)
        found = listening() - before
        # Scheduler, dashboard, nannies, workers.
        assert len(found) >= 6
        assert {host for host, _ in found} <= {"127.0.0.1", "::1"}


@pytest.fixture(scope="module")
def encrypted():
    """A client of an own cluster whose connections are encrypted."""
    with Encryption(tls=True).configured(None), own_cluster(2) as client:
        yield client


@pytest.mark.parametrize("steps", mostly_slow(["tasks", "window"], "window"))
def test_encrypted_runs_have_the_same_bits(path, undisturbed, encrypted, steps):
    run = trainer(path, 2, encrypted, steps=steps)
    run.fit(2)
    assert run.params_sha256 == undisturbed
    assert run.run_state.main_form == steps


def addresses_of(client):
    """Return the addresses of scheduler, workers and nannies."""
    info = client.scheduler_info(n_workers=-1)
    workers = info["workers"]
    nannies = [worker["nanny"] for worker in workers.values()]
    return [info["address"], *workers, *nannies]


ALERT = b"\x15"
"""The first byte of what TLS says to who is refused."""


def greeting(address, context):
    """Return what a server says first, to who has shown what it asks for."""
    host, port = address.removeprefix("tls://").rsplit(":", 1)
    with socket.create_connection((host, int(port)), 10) as plain:
        try:
            if context is None:
                plain.sendall(b"\0" * 64)
                return plain.recv(1000)
            with context.wrap_socket(plain) as stream:
                return stream.recv(1000)
        except (ssl.SSLError, ConnectionError):
            return b""


def test_a_client_without_a_certificate_is_refused(encrypted):
    trusted = connection_args("tls://")["ssl_context"]
    stranger = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    stranger.check_hostname, stranger.verify_mode = False, ssl.CERT_NONE
    for address in addresses_of(encrypted):
        assert address.startswith("tls://127.0.0.1:")
        assert len(greeting(address, trusted)) > 8
        assert greeting(address, stranger) == b""
        assert greeting(address, None)[:1] in (b"", ALERT)


def write_certificates(folder, name):
    """Write an authority, certificate and key; return the three paths."""
    made = Security.temporary()
    contents = {
        "ca": made.tls_ca_file,
        "cert": made.tls_client_cert,
        "key": made.tls_client_key,
    }
    paths = []
    for kind, content in contents.items():
        paths.append(folder / f"{name}-{kind}.pem")
        paths[-1].write_text(content)
    return list(map(str, paths))


@pytest.fixture
def plain():
    """Have commands find no certificate, as in a process of their own."""
    with default_settings():
        yield


@pytest.fixture(scope="module")
def by_hand(tmp_path_factory):
    """The address of an encrypted scheduler with a worker, and its certificates."""
    folder = tmp_path_factory.mktemp("certificates")
    files = write_certificates(folder, "ours")
    words = ["--tls-ca-file", files[0], "--tls-cert", files[1], "--tls-key", files[2]]
    names = ("tls_ca_file", "tls_client_cert", "tls_client_key")
    security = Security(require_encryption=True, **dict(zip(names, files, strict=True)))
    with dask_processes() as started:

        def start(command, *more):
            (folder / command).mkdir()
            started(folder / command, command, *more, *words)

        told = folder / "scheduler.json"
        place = ["--host=127.0.0.1", "--protocol=tls", "--port=0", "--no-dashboard"]
        start("scheduler", *place, f"--scheduler-file={told}")
        for _ in range(1200):
            if told.exists():
                break
            time.sleep(0.1)
        address = json.loads(told.read_text())["address"]
        start("worker", address, "--nthreads=2", "--no-nanny", "--no-dashboard")
        with Client(address, security=security, timeout=60) as client:
            client.wait_for_workers(1, timeout=120)
        yield address, files, folder


@pytest.mark.slow
@pytest.mark.usefixtures("plain")
@pytest.mark.filterwarnings("ignore:the scheduler's settings")
def test_the_command_line_takes_certificates(path, by_hand, tmp_path):
    address, (authority, cert, key), folder = by_hand
    train = ["train", path, "--epochs", "2", "--num-parts", "2", "--scheduler", address]
    given = ["--tls-ca-file", authority, "--tls-cert", cert, "--tls-key", key]
    inside(*train, "--out", str(tmp_path / "a"), *given)
    # A resume needs nothing more: the run knows its certificates.
    inside("train", "--resume", str(tmp_path / "a"))
    done = invoked(*train, "--out", str(tmp_path / "b"))
    assert done.returncode == 2
    assert done.stderr.startswith(f"daskgnn: {address} asks for a certificate")
    assert done.stderr.count("\n") == 1
    others = write_certificates(folder, "others")
    names = ("--tls-ca-file", "--tls-cert", "--tls-key")
    given = [word for pair in zip(names, others, strict=True) for word in pair]
    done = invoked(*train, "--out", str(tmp_path / "c"), *given)
    assert done.returncode == 2
    assert "does not answer as a Dask scheduler" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.glob("[bc]"))


@pytest.mark.slow
@pytest.mark.usefixtures("plain")
def test_the_option_alone_is_enough(path, tmp_path):
    config = runs.RunOptions(graph=path, out=str(tmp_path / "plain"), epochs=2)
    config |= {"workers": 0, "num_parts": 2}
    plain = runs.train(config)["params_sha256"]
    words = ["--epochs", "2", "--num-parts", "2", "--tls"]
    inside("train", path, *words, "--out", str(tmp_path / "run"))
    text = (tmp_path / "run" / "summary.json").read_text()
    assert plain in text


@pytest.mark.parametrize(
    ("given", "scheduler", "said"),
    [
        ({"tls": True}, "tls://a:1", "cluster of its own"),
        ({"tls_ca_file": "a"}, None, "tls_cert=, tls_key= not given"),
        (
            {"tls_ca_file": __file__, "tls_cert": __file__, "tls_key": __file__},
            "tcp://a:1",
            "begins with tls://",
        ),
        ({"tls_ca_file": "a", "tls_cert": "b", "tls_key": "c"}, None, "no such file"),
    ],
)
def test_what_does_not_go_together(given, scheduler, said):
    with pytest.raises(InputError, match=said):
        Encryption(**given).check(scheduler)
