"""consensus_robust.py, trained against the search that knows the interval."""

_base_ = "consensus_robust.py"
attacks = {
    name: dict(attack, type="IntervalPGD", random_start=True)
    for name, attack in _base_.training_attacks.items()
}
attacks["camera"]["weight"] = 1.5
train_cfg = dict(attacks=dict(_delete_=True, **attacks))
load_from = "data/zoo/consensus_robust.safetensors"
