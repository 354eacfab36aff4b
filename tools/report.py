"""Make one HTML page of attack results, with pictures, to put before others."""

from perception.cli.options import run_tool
from perception.cli.report import main

if __name__ == "__main__":
    run_tool(main)
