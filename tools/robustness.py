"""Attack several detectors with every threat model and compare what is left."""

from perception.cli.options import run_tool
from perception.cli.robustness import main

if __name__ == "__main__":
    run_tool(main)
