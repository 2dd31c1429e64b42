"""Runs on the machines of a Ray cluster: their storage, and the tasks."""
