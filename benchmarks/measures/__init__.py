"""The rows of the table: the candidates that are compared, and the target of their ratio."""
