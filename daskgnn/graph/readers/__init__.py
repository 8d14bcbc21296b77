"""Readers of graphs: one module per format."""
