"""Finding objects: sets of images with boxes, and their exchange with other formats."""
