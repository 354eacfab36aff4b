"""Attack a detector's sensors and report what is left of its AP."""

from perception.cli.attack import main
from perception.cli.options import run_tool

if __name__ == "__main__":
    run_tool(main)
