"""Train from a Bolt server, and from a store: the parameters are the same.

    python examples/bolt.py [GRAPH]

starts a server of its own (see bolt_server.py), loads GRAPH (Cora, if nothing is given)
into it, trains from it with two workers, trains from a store, and compares.
"""

import os
import sys
import tempfile

from bolt_server import BoltServer

import daskgnn
from daskgnn.train.run import train


def main(name):
    """Load, train twice, and compare."""
    with tempfile.TemporaryDirectory() as folder:
        server = BoltServer(f"{folder}/server")
        os.environ |= server.environment  # workers that start later have it, too
        try:
            graph = daskgnn.load_dataset(name).partition()
            graph.save(f"{folder}/graph.zarr")
            daskgnn.copy_graph(f"{folder}/graph.zarr", server.url)
            print("loaded", daskgnn.open_graph(server.url))
            found = {}
            for place in (server.url, f"{folder}/graph.zarr"):
                options = {"graph": place, "num_parts": 2, "workers": 2, "epochs": 20}
                out = f"{folder}/run-{len(found)}"
                summary = train({**options, "out": out})
                found[place] = summary["params_sha256"]
                seconds, score = summary["wall_seconds"], summary["test_accuracy"]
                print(f"{place}: {seconds:.1f} s, test accuracy {score:.3f}")
                print(f"  parameters {found[place]}")
        finally:
            server.close()
    if len({*found.values()}) != 1:
        sys.exit("the parameters differ")
    print("the parameters are the same")


if __name__ == "__main__":
    main(*(sys.argv[1:] or ["cora"]))
