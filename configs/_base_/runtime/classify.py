"""As default.py; the last epoch counts, since there are no frames to choose one by."""

_base_ = "default.py"
custom_imports = dict(
    imports=[
        "perception.models",
        "perception.datasets.frame_dataset",
        "perception.datasets.samples.jitter",
        "perception.datasets.transforms",
        "perception.evaluation.classification.accuracy",
        "perception.training.adversarial",
        "perception.training.amp",
        "perception.training.hooks",
        "perception.training.work_folder",
    ]
)
default_hooks = dict(
    checkpoint=dict(interval=20, max_keep_ckpts=1, save_best=None, rule=None)
)
