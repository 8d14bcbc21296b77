"""Graphs from what users have: one file a format."""
