"""Single-source adversarial training from clean weights, a quarter of each std."""

_base_ = "sentiment.py"

threat = dict(type="MapThreat", eps=0.25)
training_attacks = {
    name: dict(type="PGD", threat=dict(threat, sensor=name))
    for name in ("text", "audio", "video")
}
variation = dict(
    steps=(3, 6),
    step_fraction=(0.25, 0.75),
    budget=(0.75, 1.0),
    goals=("detection", "detection|none*0.3", "detection|none*3"),
)
train_cfg = dict(
    type="AdversarialTrainLoop",
    attacks=training_attacks,
    variation=variation,
    warmup_iters=50,
)
