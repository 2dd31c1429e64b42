"""The schemas of all YAML files and their loading, with all problems in one message."""
