"""The command line: one module per tool, which parses arguments and makes one call.

For start-up time, whatever imports PyTorch is imported inside functions.
"""
