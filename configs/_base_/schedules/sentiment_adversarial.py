"""Single-source adversarial training from clean weights, a quarter of each std."""

_base_ = ["sentiment.py", "variation.py"]

threat = dict(type="MapThreat", eps=0.25)
training_attacks = {
    name: dict(type="PGD", threat=dict(threat, sensor=name))
    for name in ("text", "audio", "video")
}
train_cfg = dict(
    type="AdversarialTrainLoop",
    attacks=training_attacks,
    variation={{_base_.variation}},
    warmup_iters=50,
)
