"""The paper's recipe: robust fusion layer, adversarial training, odd-one-out loss."""

_base_ = "concat_at.py"
model = dict(fusion=dict(type="OddOneOutFusion"))
load_from = "work_dirs/action_odd_one_out/epoch_40.pth"
