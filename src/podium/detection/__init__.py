"""Finding objects: sets of pictures with boxes, and their exchange with other formats."""
