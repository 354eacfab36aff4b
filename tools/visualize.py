"""Draw what the sensors saw, what a detector believed, and what attacks did to both."""

from perception.cli.options import run_tool
from perception.cli.visualize import main

if __name__ == "__main__":
    run_tool(main)
