"""The floor in metres: concat's image boxes and weights, lifted by the depth inside."""

_base_ = ["concat.py", "../_base_/models/lift.py"]
