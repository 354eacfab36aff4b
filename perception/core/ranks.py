"""The processes that torchrun started, each with a share of the work."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, TypeVar

import torch

from perception.core.shards import torchrun_shard

Value = TypeVar("Value")


class Ranks:
    """Torchrun's processes; a single one without it.

    Attributes:
        shard: This one's share.
    """

    def __init__(self) -> None:
        self.shard = torchrun_shard()

    def __enter__(self) -> Ranks:
        if self.shard.count > 1:  # a rank may wait for days until the others are done
            torch.distributed.init_process_group("gloo", timeout=timedelta(days=30))
        return self

    def __exit__(self, *_: object) -> None:
        if self.shard.count > 1:
            torch.distributed.destroy_process_group()

    def gather(self, value: Value) -> list[Value]:
        """The values of all ranks, on every rank; waits for them."""
        if self.shard.count == 1:
            return [value]
        values: list[Any] = [None] * self.shard.count
        torch.distributed.all_gather_object(values, value)
        return values

    def wait(self) -> None:
        """Until all ranks are here."""
        if self.shard.count > 1:
            torch.distributed.barrier()
