"""CMU-MOSI: opinions on film, by text, voice and face; negative or positive.

Zadeh, Zellers, Pincus and Morency, "MOSI: Multimodal Corpus of Sentiment Intensity and
Subjectivity Analysis in Online Opinion Videos", 2016, by the utterance features of
Poria et al., "Context-Dependent Sentiment Analysis in User-Generated Videos", ACL 2017.

The extractors of text and video features were themselves trained on the labels of the
62 videos of ``train``. Only their split is therefore offered: another one would test on
what the features have seen. Within ``train`` video looks far better than it is.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from perception.core.structures import DataError
from perception.datasets.samples.base import SampleReader, members, open_packed

CLASSES = ("negative", "positive")
SENSORS = ("text", "audio", "video")
_LIMIT = 10.0  # standard deviations; a few audio features have values far beyond


class MosiFrames(SampleReader):
    """Utterances of CMU-MOSI, each source a vector, (1, C).

    In units of each feature's standard deviation over the utterances of ``train``, from
    their mean, at most 10.

    Args:
        root: An ``.npz`` file with ``text``, ``audio``, ``video`` (N, C), ``label``
            (N,) 0 or 1, ``id``, ``video_id`` and ``split_poria`` (N,).
        split: ``train`` or ``test``; ``fit`` and ``tune``, the videos of ``train`` in
            three parts to one, to choose settings by; ``all``, or names of utterances.
        sensors: The sources wanted.

    Raises:
        DataError: If the file is missing or not that.
    """

    def __init__(
        self,
        *,
        root: str | os.PathLike,
        split: str | Sequence[str] = "train",
        sensors: Sequence[str] = SENSORS,
    ) -> None:
        path = Path(root)
        if unknown := [name for name in sensors if name not in SENSORS]:
            raise DataError(f"sensors {unknown}: CMU-MOSI has {list(SENSORS)}")
        keys = (*SENSORS, "label", "id", "video_id", "split_poria")
        packed = open_packed(path, keys)
        training = packed["split_poria"] == "train"
        videos = np.unique(packed["video_id"][training])
        held_out = np.isin(packed["video_id"], videos[::4])
        splits = {
            "train": lambda n: training[n],
            "test": lambda n: not training[n],
            "fit": lambda n: training[n] and not held_out[n],
            "tune": lambda n: training[n] and held_out[n],
        }
        ids = packed["id"].tolist()
        chosen = members(split, splits, ids, path)
        super().__init__(
            [ids[n] for n in chosen],
            [CLASSES[int(packed["label"][n])] for n in chosen],
            sensors,
        )
        self._vectors = {}
        for name in sensors:
            mean, std = packed[name][training].mean(0), packed[name][training].std(0)
            vectors = (packed[name][chosen] - mean) / np.maximum(std, 1e-6)
            self._vectors[name] = vectors.clip(-_LIMIT, _LIMIT).astype(np.float32)

    def arrays(self, number: int) -> dict[str, np.ndarray]:
        """Those of one utterance."""
        return {name: rows[number][None] for name, rows in self._vectors.items()}
