"""Train GraphSAGE on handwritten digits, on two local Dask workers."""

import torch
from distributed import Client

import daskgnn

if __name__ == "__main__":  # worker processes import this file
    client = Client(n_workers=2, threads_per_worker=2)
    graph = daskgnn.load_dataset("digits")
    graph.partition(num_clusters=64, method="metis").save("digits.zarr", overwrite=True)
    graph = daskgnn.open_graph("digits.zarr", num_parts=2)  # lazy Dask arrays
    torch.manual_seed(0)  # the model's first parameters
    model = daskgnn.nn.GraphSAGE(
        in_channels=64, hidden_channels=128, out_channels=10, num_layers=2
    )
    trainer = daskgnn.Trainer(
        model, graph, num_neighbors=[15, 10], batch_size=256, lr=0.01, seed=0
    )
    history = trainer.fit(epochs=20)
    print("last loss", history.epochs[-1]["loss"])
    print("test", trainer.evaluate("test"))
    print("predictions", trainer.predict())  # a Dask array, in original node order
    client.close()
