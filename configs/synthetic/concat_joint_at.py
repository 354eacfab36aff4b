"""Joint-channel adversarial training: plain fusion, all sensors attacked at once.

Wang et al., WACV 2022, report that it and single-channel training can hurt each other.
"""

_base_ = "concat_at.py"
parts = [attack["threat"] for attack in _base_.training_attacks.values()]
everything = dict(type="PGD", threat=dict(type="JointThreat", parts=parts))
train_cfg = dict(attacks=dict(_delete_=True, everything=everything))
