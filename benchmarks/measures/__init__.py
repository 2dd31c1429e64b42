"""The rows of the table: what is run side by side, and what their ratio is to be."""
