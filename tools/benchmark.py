"""Measure how long the parts take on this machine, each beside a reference."""

from perception.cli.benchmark import main
from perception.cli.options import run_tool

if __name__ == "__main__":
    run_tool(main)
