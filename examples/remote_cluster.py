"""Train on a Dask cluster that is already running.

On one machine of the cluster, and on each of the others:

    daskgnn scheduler
    daskgnn worker tcp://SCHEDULER:8786

Every machine needs daskgnn installed and must see the store under the same path.
Then, from anywhere that reaches the scheduler:

    python remote_cluster.py tcp://SCHEDULER:8786 /shared/digits.zarr
"""

import sys
from pathlib import Path

import torch
from distributed import Client

import daskgnn

if __name__ == "__main__":
    address, store = sys.argv[1:]
    if not Path(store).exists():
        daskgnn.load_dataset("digits").partition(64).save(store)
    with Client(address) as client:
        print("dashboard", client.dashboard_link)
        # Parts are fixed here; workers may come and go beneath them.
        graph = daskgnn.open_graph(store, num_parts=4)
        torch.manual_seed(0)  # the model's first parameters
        model = daskgnn.nn.GraphSAGE(
            in_channels=graph.num_features,
            hidden_channels=128,
            out_channels=graph.num_classes,
            num_layers=2,
        )
        trainer = daskgnn.Trainer(
            model, graph, num_neighbors=[15, 10], batch_size=256, out="runs/remote"
        )
        trainer.fit(epochs=20)
        print("test", trainer.evaluate("test"))
