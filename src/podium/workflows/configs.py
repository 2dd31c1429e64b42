"""Load and make configs with all checks, those of augmentations included."""
