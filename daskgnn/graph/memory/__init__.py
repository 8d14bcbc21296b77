"""Graphs in memory, as they are and in storage order."""
