"""Threats to the sensors of UTD-MHAD: 16/255 of what each can deliver.

As standard.py: `attacks` by name, `suites` of them; budgets in the sensors' own units.
"""

part = 16.0 / 255
eps = dict(depth=4000 * part, accel=16 * part, gyro=2000 * part)  # mm, g, deg/s
threats = {
    name: dict(type="MapThreat", sensor=name, eps=eps[name], steps=20) for name in eps
}
softly = dict(type="PGD", random_start=False, step_fraction=0.05)
carefully = dict(
    type="Adaptive", ways=("none",), patience=0, search=softly, weights=(0.03, 0.3)
)
pgd = {f"{n}_pgd": dict(type="PGD", threat=t) for n, t in threats.items()}
careful = {
    f"{n}_careful": dict(**carefully, threat=dict(t, steps=40))
    for n, t in threats.items()
}
interval = {
    f"{n}_interval": dict(type="IntervalPGD", threat=dict(t, steps=40))
    for n, t in threats.items()
}
margin = {
    f"{n}_margin": dict(type="PGD", threat=dict(t, goal="margin"))
    for n, t in threats.items()
}
noise = {f"{n}_noise": dict(type="RandomNoise", threat=t) for n, t in threats.items()}
square = {
    f"{n}_square": dict(type="SquareAttack", threat=dict(t, steps=200))
    for n, t in threats.items()
}
everything = dict(type="JointThreat", parts=list(threats.values()), steps=20)
attacks = dict(
    **pgd,
    **careful,
    **interval,
    **margin,
    **noise,
    **square,
    all_pgd=dict(type="PGD", threat=everything),
)
suites = dict(
    quick=list(pgd),
    strong=[*margin, *careful, *interval],
    margin=list(margin),
    careful=list(careful),
    interval=list(interval),
    black_box=[*noise, *square],
    table=[*pgd, *margin, *interval, "all_pgd"],
    full=list(attacks),
)
