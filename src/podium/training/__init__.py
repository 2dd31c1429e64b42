"""The trainer, its callbacks, learning rates and checkpoints, and the classification task."""
