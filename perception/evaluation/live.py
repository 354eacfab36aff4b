"""A detector and its monitor on frames that come one by one."""

from __future__ import annotations

import os
from typing import Any

from perception.core.config import as_config
from perception.core.structures import DataError, Frame
from perception.datasets.frame_dataset import FrameDataset
from perception.datasets.loading import build_loader
from perception.models.consensus.monitor import SensorMonitor, SensorState
from perception.models.consensus.repeats import RepeatDetector, digest
from perception.models.loading import without_history
from perception.targets.loading import load_target


class LiveMonitor:
    """Which sensor to trust after each frame: the gate's word, and who repeats itself.

    Args:
        config: Of a detector with a gate.
        checkpoint: Its weights.
        monitor: A ``monitor.json`` that was calibrated for it.
        device: Where it runs.

    Raises:
        DataError: If a file cannot be used, or the monitor is of other sensors.
    """

    def __init__(
        self,
        config: str | os.PathLike,
        checkpoint: str | os.PathLike,
        monitor: str | os.PathLike,
        *,
        device: str = "cpu",
    ) -> None:
        made = without_history(as_config(config))
        self.target = load_target(made, checkpoint, device=device)
        self.monitor = SensorMonitor.load(monitor)
        if tuple(self.monitor.sensors) != (sensors := tuple(self.target.sensors)):
            raise DataError(
                f"{monitor}: a monitor of {', '.join(self.monitor.sensors)}, but the "
                f"detector has {', '.join(sensors)}"
            )
        data: Any = made.test_dataloader.dataset
        self._settings = {"classes": data.classes, "pipeline": data.pipeline}
        self._repeats = RepeatDetector()

    def update(self, frame: Frame) -> SensorState:
        """Take in the next frame; the sensors that it lacks count as compromised."""
        names = list(self.target.sensors)
        missing = [name for name in names if name not in frame.sensors]
        if missing:
            return self.monitor.update(None, missing, self._repeats.update({}))
        dataset = FrameDataset(frames=[frame], **self._settings)
        (data,) = build_loader(dataset)
        packed = self.target.preprocessor(data, False)
        inputs = packed["inputs"]
        (said,) = self.target.predict(inputs, packed["data_samples"])
        readings = {name: digest(inputs[name][0]) for name in names}
        return self.monitor.update(said.gate, stale=self._repeats.update(readings))
