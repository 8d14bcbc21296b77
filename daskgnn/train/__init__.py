"""Learning: models, optimizers and checkpoints over the task graphs."""
