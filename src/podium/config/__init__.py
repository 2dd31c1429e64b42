"""The schema of every YAML file, and the reading of it: all faults of a file told at once."""
