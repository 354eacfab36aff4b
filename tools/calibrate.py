"""Tell a trained agreement gate what benign frames look like."""

from perception.cli.calibrate import main
from perception.cli.options import run_tool

if __name__ == "__main__":
    run_tool(main)
