"""The command line: one module per tool, which parses arguments and makes one call.

Whatever imports PyTorch is imported inside functions, for start-up time: ``--help`` and
what is wrong with the arguments shall not wait for it.
"""
