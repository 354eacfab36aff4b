"""Running the ``main`` of a tool as its command line does."""

from collections.abc import Callable

from perception.cli.options import run_tool


def status_of(main: Callable, *words: object) -> int:
    """Exit status of ``main``, given the words as arguments."""
    try:
        run_tool(lambda: main([str(word) for word in words]))
    except SystemExit as end:
        return int(end.code or 0)
    return 0
