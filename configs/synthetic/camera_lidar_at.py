"""camera_lidar.py with single-source adversarial training: two sensors' baseline."""

_base_ = "concat_at.py"
both = ("camera", "lidar")
branches = {name: _base_.model.branches[name] for name in both}
attacks = {name: _base_.training_attacks[name] for name in both}
model = dict(branches=dict(_delete_=True, **branches))
train_cfg = dict(attacks=dict(_delete_=True, **attacks))
load_from = "data/zoo/camera_lidar.safetensors"
