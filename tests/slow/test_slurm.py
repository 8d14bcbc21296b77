"""The scripts of deploy/slurm on a real SLURM of one node, which the test starts."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from training import ROOT, inside

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

SCRIPTS = ROOT / "deploy" / "slurm"
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch")
OPTIONS = ["--num-parts", "2", "--batch-size", "48", "--num-neighbors", "4,3"]
OPTIONS += ["--hidden-channels", "16", "--epochs", "300", "--eval-every", "100"]
OPTIONS += ["--no-recipe"]
CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
ReturnToService=2
KillWait=5
SlurmctldPort={controller}
SlurmdPort={daemon}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs=8 RealMemory=16000
PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def until(what, seconds, why):
    """Return what a function finds, once it is something."""
    for _ in range(int(seconds / 0.2)):
        if found := what():
            return found
        time.sleep(0.2)
    raise AssertionError(why)


class Slurm:
    """Its three daemons, in a folder of their own."""

    def __init__(self, folder):
        self.folder = folder
        host = socket.gethostname().partition(".")[0]
        names = {"host": host, "folder": folder}
        ports = {"controller": free_port(), "daemon": free_port()}
        file = folder / "slurm.conf"
        file.write_text(CONFIGURATION.format(**names, **ports))
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        more = {"SLURM_CONF": str(file), "PYTHONPATH": str(ROOT), "PATH": path}
        self.environment = {**os.environ, **more, "DASKGNN_SLURM_DIR": str(SCRIPTS)}
        self.processes = []

    def start(self):
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        places = {"key-file": key} | {
            kind: self.folder / f"munge.{kind.partition('-')[0]}"
            for kind in ("socket", "pid-file", "log-file", "seed-file")
        }
        self._run("munged", "--force", "-F", *(f"--{k}={v}" for k, v in places.items()))
        until(places["socket"].exists, 20, "munged does not start")
        self._run("slurmctld", "-D")
        self._run("slurmd", "-D")
        idle = ("sinfo", "--noheader", "--format=%t")
        until(lambda: self.call(*idle, check=False) == "idle\n", 60, "no node is idle")

    def _run(self, *words):
        log = (self.folder / f"{words[0]}.log").open("w")
        with log:
            self.processes.append(
                subprocess.Popen(words, env=self.environment, stdout=log, stderr=log)
            )

    def call(self, *words, check=True):
        """Run a command of SLURM's; return what it prints."""
        done = subprocess.run(
            words,
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=check,
        )
        return done.stdout

    def stop(self):
        self.call("scancel", "--user=root", check=False)
        for _ in range(150):  # daemons that end first would leave jobs behind
            if not self.call("squeue", "--noheader", check=False).strip():
                break
            time.sleep(0.2)
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.fixture
def slurm(tmp_path_factory):
    """A SLURM of one node."""
    pytest.importorskip("dask_jobqueue")
    missing = [name for name in PROGRAMS if not shutil.which(name)]
    if missing or os.getuid():
        pytest.skip(f"no SLURM can be started: needs root and {', '.join(PROGRAMS)}")
    found = Slurm(tmp_path_factory.mktemp("slurm"))
    try:
        found.start()
        yield found
    finally:
        found.stop()


def steps_of(out):
    """Return how many lines of steps a run has written."""
    file = out / "metrics.jsonl"
    return file.read_text().count('"event": "step"') if file.exists() else 0


def test_a_driver_that_is_warned_goes_on_in_its_next_job(slurm, path, tmp_path):
    inside("train", path, *OPTIONS, "--workers", "0", "--out", str(tmp_path / "alone"))
    alone = json.loads((tmp_path / "alone" / "summary.json").read_text())
    out = tmp_path / "run"
    jobs = ["--jobs", "2", "--cores", "2", "--memory", "2GB", "--walltime", "9"]
    script = [str(SCRIPTS / "train.sbatch"), path, "--out", str(out), *jobs, *OPTIONS]
    given = ["--time=9", "--mem=2G", "--parsable"]
    number = slurm.call("sbatch", *given, *script).strip()
    until(lambda: steps_of(out) > 20, 400, "the run does not begin")
    # What SLURM itself sends when the time is nearly up.
    slurm.call("scancel", "--batch", "--signal=USR1", number)
    until((out / "summary.json").exists, 600, "the run does not end")
    told = json.loads((out / "summary.json").read_text())
    lines = [json.loads(t) for t in (out / "metrics.jsonl").read_text().splitlines()]
    (stopped,) = [line for line in lines if line["event"] == "stopped"]
    (resumed,) = [line for line in lines if line["event"] == "resume"]
    assert stopped["signal"] == "SIGUSR1"
    assert resumed["step"] == stopped["step"] > 20
    assert told["params_sha256"] == alone["params_sha256"]
    assert told["num_workers"] == 2
