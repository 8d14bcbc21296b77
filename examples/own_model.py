"""Train a model of your own: a torch module over blocks."""

import torch
from distributed import Client

import daskgnn


class Residual(torch.nn.Module):
    """Layers that add the mean of the neighbours to what a node knows itself.

    ``forward(x, blocks)`` gets the features of all nodes that the batch needs and one
    block a layer, outermost first; it returns one row a seed.
    """

    def __init__(self, in_channels: int, hidden: int, out_channels: int) -> None:
        super().__init__()
        self.num_layers = 2
        self.begin = torch.nn.Linear(in_channels, hidden)
        self.mix = torch.nn.ModuleList(
            torch.nn.Linear(hidden, hidden) for _ in range(self.num_layers)
        )
        self.end = torch.nn.Linear(hidden, out_channels)
        # Not torch.nn.Dropout: this one drops the same in every part and run.
        self.dropout = daskgnn.nn.Dropout(0.2)

    def forward(self, x: torch.Tensor, blocks: list) -> torch.Tensor:
        h = self.begin(x)
        for mix, block in zip(self.mix, blocks, strict=True):
            message = mix(block.aggregate(h, "mean"))
            # A block's destinations are the first of its source nodes.
            h = block.dst(h) + torch.relu(message)
        return self.end(self.dropout(h, blocks[-1]))


if __name__ == "__main__":
    client = Client(n_workers=2, threads_per_worker=2)
    daskgnn.load_dataset("digits").partition(16).save("digits.zarr", overwrite=True)
    graph = daskgnn.open_graph("digits.zarr", num_parts=2)
    torch.manual_seed(0)  # the model's first parameters are yours
    model = Residual(graph.num_features, 64, graph.num_classes)
    trainer = daskgnn.Trainer(model, graph, num_neighbors=[15, 10], batch_size=256)
    trainer.fit(epochs=20)
    print("test", trainer.evaluate("test"))
    client.close()
