"""Python files from outside, which are read and not run."""

import ast


def parse_python(text: str) -> list[ast.stmt]:
    """The statements of a file. A ValueError says why Python's parser does not take it."""
    try:
        return ast.parse(text).body
    except SyntaxError as error:
        raise ValueError(f"line {error.lineno}: not Python: {error.msg}") from None
    except (RecursionError, MemoryError):
        raise ValueError("it is nested too deeply for Python") from None
