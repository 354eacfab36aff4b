"""Synthetic drives in nuScenes' format: agreement gate, adversarial training."""

_base_ = [
    "../_base_/datasets/nuscenes_synthetic.py",
    "../_base_/models/nuscenes_small.py",
    "../_base_/schedules/nuscenes_adversarial.py",
    "../_base_/runtime/default.py",
]
head = dict(**_base_.bbox_head)
head.update(num_classes=3)
fusion = dict(type="AgreementFusion", margin=3.0, box_margin=0.25, loss_weight=1.0)
model = dict(fusion=dict(**fusion, momentum=1e-3), bbox_head=head, view_head=head)
load_from = "work_dirs/nuscenes_synthetic_agreement/epoch_6.pth"
