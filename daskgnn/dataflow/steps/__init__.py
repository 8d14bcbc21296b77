"""The steps of a window: what they compute, and the two ways to run them."""
