"""Synthetic drives in nuScenes' format: agreement gate, adversarial training."""

_base_ = [
    "../_base_/datasets/nuscenes_synthetic.py",
    "../_base_/models/nuscenes_small.py",
    "../_base_/schedules/nuscenes_adversarial.py",
    "../_base_/runtime/default.py",
]
head = dict(**_base_.bbox_head)
head.update(num_classes=3)
gate = dict(momentum=1e-3, loss_weight=1.0)
aggregator = dict(type="MedianAggregator", gate=gate, margin=3.0, box_margin=0.25)
model = dict(fusion=dict(type="OddOneOutFusion", gate=None), aggregator=aggregator)
model.update(bbox_head=head, branch_head=head)
load_from = "work_dirs/nuscenes_synthetic_agreement/epoch_6.pth"
