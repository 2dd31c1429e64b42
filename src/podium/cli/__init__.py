"""The command line: one file per group of commands. Commands import large libraries only when needed."""
