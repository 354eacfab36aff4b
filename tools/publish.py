"""Turn a checkpoint into a small file of weights with a card."""

from perception.cli.options import run_tool
from perception.cli.publish import main

if __name__ == "__main__":
    run_tool(main)
