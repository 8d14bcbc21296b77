"""Vision GNN models: plain torch over images."""
