"""Consensus of sensors and experts, adversarial training: our best.

The attacker knows the gate, and everything that the neck chooses from.
"""

_base_ = "concat_at.py"
fusion = dict(type="ConsensusFusion", loss_weight=0.5, momentum=1e-3, blame_at=3.0)
model = dict(fusion=fusion, view_head={{_base_.bbox_head}})
variation = dict(goals=("detection", "detection|parts", "detection|none*0.3"))
train_cfg = dict(variation=variation, attacks=dict(camera=dict(weight=1.5)))
load_from = "work_dirs/synthetic_consensus/epoch_20.pth"
