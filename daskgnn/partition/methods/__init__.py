"""The partitioners: from a graph's rows to clusters of its nodes."""
