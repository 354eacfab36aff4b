"""Plain fusion with single-source adversarial training."""

_base_ = [
    "../_base_/datasets/mosi.py",
    "../_base_/models/sentiment.py",
    "../_base_/schedules/sentiment_adversarial.py",
    "../_base_/runtime/classify.py",
]
load_from = "work_dirs/sentiment_concat/epoch_8.pth"
