"""What single-source adversarial training varies from one batch to the next."""

variation = dict(
    steps=(3, 6),
    step_fraction=(0.25, 0.75),
    budget=(0.75, 1.0),
    goals=("detection", "detection|none*0.3", "detection|none*3"),
)
