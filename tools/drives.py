"""Follow a detector through drives, frame by frame, while one sensor is attacked."""

from perception.cli.drives import main
from perception.cli.options import run_tool

if __name__ == "__main__":
    run_tool(main)
