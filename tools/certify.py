"""Count the objects that no attack on one sensor can hide."""

from perception.cli.certify import main
from perception.cli.options import run_tool

if __name__ == "__main__":
    run_tool(main)
