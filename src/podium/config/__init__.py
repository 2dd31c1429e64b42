"""The schema of every YAML file, and the reading of it: all problems of a file told at once."""
