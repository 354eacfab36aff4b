"""CMU-MOSI's features, in standard deviations from the mean of each."""

sensors = {
    name: dict(kind="array", channels=[(name, "std", -10.0, 10.0)])
    for name in ("text", "audio", "video")
}
