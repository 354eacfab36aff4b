"""Say which sensor of a recording to trust, frame by frame. No labels are needed."""

from perception.cli.monitor import main
from perception.cli.options import run_tool

if __name__ == "__main__":
    run_tool(main)
