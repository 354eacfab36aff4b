"""Train one adversarial patch over many frames and save it as a picture to print."""

from perception.cli.options import run_tool
from perception.cli.train_patch import main

if __name__ == "__main__":
    run_tool(main)
