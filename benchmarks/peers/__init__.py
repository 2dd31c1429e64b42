"""Other tools for the same work, each in one file, written as its users would write it."""
