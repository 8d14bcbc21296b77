"""Graphs that are kept in databases, and read on demand."""
