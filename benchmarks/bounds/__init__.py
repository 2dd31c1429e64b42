"""The limits of the hardware: only the work that cannot be avoided."""
