"""Train on workers that are jobs of SLURM: the driver, with the scheduler inside it.

Run it again with the same --out to continue a run. All other options are those of
``daskgnn train``.

    python train.py GRAPH --out DIR [--jobs 2] [--walltime 60] [more options]

It needs dask-jobqueue: pip install 'daskgnn[slurm]'
"""

import argparse
from pathlib import Path

import dask
from dask_jobqueue import SLURMCluster

import daskgnn
from daskgnn.cli import main

parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
parser.add_argument("graph")
parser.add_argument("--out", required=True, help="directory of the run")
parser.add_argument("--jobs", type=int, default=2, help="workers, each a job")
parser.add_argument("--walltime", type=int, default=60, help="of a job, minutes")
parser.add_argument("--cores", type=int, default=2, help="of a job")
parser.add_argument("--memory", default="16GB", help="of a job")
parser.add_argument("--queue", help="SLURM's partition")
parser.add_argument("--account")
parser.add_argument("--interface", help="network interface, as in ib0")


def started(given):
    """Return a cluster whose workers retire in turn before their time is up."""
    lifetime = 60 * given.walltime
    return SLURMCluster(
        cores=given.cores,
        processes=1,
        memory=given.memory,
        walltime=f"{given.walltime // 60:02}:{given.walltime % 60:02}:00",
        queue=given.queue,
        account=given.account,
        interface=given.interface,
        # Sets what training needs, as `daskgnn worker` does anywhere.
        worker_command="daskgnn worker",
        worker_extra_args=[
            *("--lifetime", f"{int(0.85 * lifetime)}s"),
            *("--lifetime-stagger", f"{int(0.1 * lifetime)}s"),
        ],
        log_directory=str(Path(given.out).absolute().with_name("slurm-logs")),
    )


if __name__ == "__main__":
    given, options = parser.parse_known_args()
    dask.config.set(daskgnn.recommended_config())
    # A worker may wait in a queue for long.
    dask.config.set({"distributed.scheduler.no-workers-timeout": "7 days"})
    words = ["train", given.graph, "--out", given.out, *options]
    if Path(given.out, "checkpoints").exists():
        words = ["train", "--resume", given.out]
    with started(given) as cluster:
        # A job is submitted in the place of each that has ended.
        cluster.adapt(minimum=given.jobs, maximum=given.jobs)
        cluster.wait_for_workers(1)
        main([*words, "--scheduler", cluster.scheduler_address])
