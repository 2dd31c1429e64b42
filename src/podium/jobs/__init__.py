"""Jobs that run on other machines: their queue on disk, and following them."""
