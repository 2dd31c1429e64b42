"""Finding objects: sets of images with boxes and their formats; detectors, their training and evaluation; crops."""
