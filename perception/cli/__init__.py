"""The command line: one module per tool, each parses arguments and makes one call."""
