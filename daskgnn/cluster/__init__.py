"""Clusters: their processes, their connections, and where parts are placed."""
