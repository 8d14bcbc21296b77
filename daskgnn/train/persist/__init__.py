"""Files of a run: metrics, checkpoints, predictions."""
