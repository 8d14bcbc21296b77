"""What a run leaves behind: metrics, checkpoints, predictions."""
