"""Single-source adversarial training (Yang et al., CVPR 2021, algorithm 1).

Every step attacks one sensor of the batch (without a gate also several together:
joint-channel adversarial training, Wang et al., WACV 2022), end to end through the
whole present detector, and learns from the clean and from the attacked frames:
detection loss on both, and for a gate the cross-entropy towards the sensor that was
attacked, or towards "none". Ours draws the attack from a mix, see
:mod:`perception.training.attack_mix`; the features of the sensors left alone are
computed once, for the attack's steps and for the training step.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from mmdet.structures import DetDataSample
from mmengine.model import is_model_wrapper
from mmengine.registry import LOOPS
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch import Tensor
from torch.utils.data import DataLoader

from perception.attacks.base import try_goal
from perception.attacks.batch import AttackBatch
from perception.attacks.target import frozen
from perception.attacks.victim import Victim
from perception.targets import DetectorTarget
from perception.training.attack_mix import AttackMix, Variation


@LOOPS.register_module()
class AdversarialTrainLoop(EpochBasedTrainLoop):
    """MMEngine's loop by epochs, with one sensor of every batch attacked.

    The same for every fusion neck: what differs between a defended detector and its
    baselines is the neck alone. Random draws depend on the seed, the iteration and the
    frame, so that a resumed run goes on as if it had not stopped, and frames fare the
    same on one process and on several.

    Args:
        runner: MMEngine's runner.
        dataloader: The training frames.
        max_epochs: Number of epochs.
        attacks: The mix: for each name an attack as in ``configs/_base_/attacks`` and
            optionally its ``weight``.
        variation: Fields of :class:`~perception.training.attack_mix.Variation`.
        warmup_iters: The budget of every attack that has one (``eps``, ``radius_m`` or
            ``count``) grows linearly to its full size over so many iterations.
        val_begin: First epoch after which to validate.
        val_interval: Epochs between validations.
    """

    def __init__(
        self,
        runner: Runner,
        dataloader: DataLoader | dict,
        max_epochs: int,
        *,
        attacks: Mapping[str, Mapping[str, Any]],
        variation: Mapping[str, Any] | None = None,
        warmup_iters: int = 0,
        val_begin: int = 1,
        val_interval: int = 1,
    ) -> None:
        super().__init__(runner, dataloader, max_epochs, val_begin, val_interval)
        fields = {name: tuple(value) for name, value in dict(variation or {}).items()}
        detector = self.detector
        detector.dataset_meta = self.dataloader.dataset.metainfo  # for class:NAME
        self.mix = AttackMix(
            attacks,
            variation=Variation(**fields),
            gate=detector.has_gate,
        )
        for attack in self.mix.attacks:
            attack.check(detector.sensors)
        self.warmup_iters = warmup_iters
        self._goals_fit = False

    @property
    def detector(self) -> Any:
        """The detector itself, without a wrapper for several processes."""
        model = self.runner.model
        return model.module if is_model_wrapper(model) else model

    def run_iter(self, idx: int, data_batch: Sequence[dict]) -> None:
        """Attack one batch, then train on it twice as large."""
        begin = time.perf_counter()
        with self.runner.optim_wrapper.optim_context(self.runner.model):
            attacked = self.attacked(data_batch)
        seconds = time.perf_counter() - begin
        self.runner.message_hub.update_scalar("train/attack_s", seconds)
        super().run_iter(idx, attacked)

    def attacked(self, data_batch: Any) -> dict[str, Any]:
        """The clean frames and the attacked ones, as one batch for ``train_step``."""
        random = np.random.default_rng((self.runner.seed, self.iter))
        warm = min((self.iter + 1) / max(self.warmup_iters, 1), 1.0)
        attack = self.mix.draw(random, strength=warm)
        samples = data_batch["data_samples"]
        ids = [_number(self.runner.seed, self.iter, sample) for sample in samples]
        target = DetectorTarget(self.detector)
        batch = target.batch(data_batch, ids)
        if not self._goals_fit:  # now, not when one is first drawn
            self._try_goals(target, batch.select([0]))
        changed = attack.craft(target, batch)
        return join(batch, changed, attack.touched[0])

    def _try_goals(self, target: DetectorTarget, frame: AttackBatch) -> None:
        """Raise ValueError if the detector cannot be attacked by a goal of the mix."""
        pairs = {
            (attack.touched, goal): attack.name
            for attack in self.mix.attacks
            for goal in self.mix.goals_of(attack)
        }
        with frozen(target):
            for (touched, goal), name in pairs.items():
                try:
                    try_goal(Victim(target, frame, touched), goal)
                except ValueError as error:
                    text = f"training goal {str(goal)!r} of {name!r}: {error}"
                    raise type(error)(text) from error
        self._goals_fit = True


def join(
    batch: AttackBatch, changed: Mapping[str, Tensor], odd_sensor: str
) -> dict[str, Any]:
    """Clean frames followed by the same frames with one sensor changed.

    Args:
        batch: N clean frames.
        changed: {sensor: (N, C, H, W)} attacked inputs.
        odd_sensor: The compromised sensor, told to the odd-one-out loss; of several
            (joint-channel training, without a gate) any.

    Returns:
        ``inputs``: 2 N frames of the changed sensors and N of all others, which
        ``MultiModalDetector.loss`` takes for both halves; 2 N ``data_samples``.
    """
    inputs = {
        name: torch.cat([clean, changed[name]]) if name in changed else clean
        for name, clean in batch.inputs.items()
    }
    twins = [sample.new() for sample in batch.samples]
    for twin in twins:
        twin.set_metainfo({"odd_sensor": odd_sensor})
    return {"inputs": inputs, "data_samples": [*batch.samples, *twins]}


def _number(seed: int, iteration: int, sample: DetDataSample) -> int:
    """What seeds the draws of one frame in one iteration."""
    return zlib.crc32(f"{seed} {iteration} {sample.frame_id}".encode())
