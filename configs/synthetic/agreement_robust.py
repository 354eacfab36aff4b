"""Agreement gate and experts, adversarial training; the attacker knows the gate."""

_base_ = "concat_at.py"
fusion = dict(type="AgreementFusion", margin=1.0, box_margin=0.25, loss_weight=1.0)
fusion.update(momentum=1e-3, blame_at=3.0, doubt_at=1.5)
model = dict(fusion=fusion, view_head={{_base_.bbox_head}})
variation = dict(goals=("detection", "detection|none*0.1", "detection|none*1"))
train_cfg = dict(variation=variation, attacks=dict(camera=dict(weight=2.0)))
load_from = "work_dirs/synthetic_agreement/epoch_10.pth"
