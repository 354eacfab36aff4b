"""Plain fusion by concatenation, clean training."""

_base_ = [
    "../_base_/datasets/mosi.py",
    "../_base_/models/sentiment.py",
    "../_base_/schedules/sentiment.py",
    "../_base_/runtime/classify.py",
]
