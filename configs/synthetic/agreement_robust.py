"""Agreement gate and experts with single-source adversarial training.

The attacker knows the gate; what a sensor says by itself learns to show the attack.
"""

_base_ = "concat_at.py"
model = dict(
    fusion=dict(
        type="AgreementFusion",
        blame_at=3.0,
        loss_weight=1.0,
        margin=1.0,
        box_margin=0.25,
    ),
    view_head={{_base_.bbox_head}},
)
variation = dict(goals=("detection", "detection|none*0.3", "detection|none*1"))
train_cfg = dict(variation=variation)
load_from = "work_dirs/synthetic_agreement/epoch_10.pth"
