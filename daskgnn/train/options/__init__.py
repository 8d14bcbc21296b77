"""Every setting of a training run, declared once."""
