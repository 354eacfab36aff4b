"""Train a detector from a config."""

from perception.cli.options import run_tool
from perception.cli.train import main

if __name__ == "__main__":
    run_tool(main)
