"""Methods that order and cut: each from a graph's rows to clusters of its nodes."""
