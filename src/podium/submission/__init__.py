"""Writing a submission and checking it before it is sent."""
