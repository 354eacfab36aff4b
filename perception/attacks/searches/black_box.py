"""Attacks without gradients: random search, noise, and transfer from another detector.

A gradient attack must do at least as well: where one of these does better, its
gradients are masked.

Shape letters: N frames, R restarts, Q queries, C channels, H, W input size in pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from perception.attacks.base import Attack, Search
from perception.attacks.build import search_for
from perception.attacks.registry import ATTACKS
from perception.attacks.target import Target, frozen
from perception.attacks.threats.base import ThreatModel
from perception.attacks.threats.maps import MapThreat
from perception.attacks.victim import Victim

# After which share of the queries the squares' area is halved (the paper's list).
_HALVINGS = (0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)


@ATTACKS.register_module()
class SquareAttack(Attack):
    """Random search with squares of extreme values; ``threat.steps`` queries.

    Andriushchenko et al., "Square Attack: a query-efficient black-box adversarial
    attack via random search", ECCV 2020. Starts with vertical stripes at the edges of
    the budget; each query sets one square, every channel of it to its lowest or highest
    allowed value, and is kept where the objective rose. Ours brings the squares of an
    ``l2`` budget into the ball by projection, which is simpler and weaker than the
    paper's windows.

    Args:
        threat: A ``MapThreat``.
        first_area: Area of the first squares as a fraction of the frame's.

    Raises:
        ValueError: If the threat is not a ``MapThreat``.
    """

    def __init__(self, threat: ThreatModel, *, first_area: float = 0.3) -> None:
        super().__init__(threat)
        if not isinstance(threat, MapThreat):
            raise ValueError(f"threat {threat.name!r}: squares need a MapThreat")
        if not 0 < first_area <= 1:
            raise ValueError(f"first_area must be in (0, 1], got {first_area}")
        self.first_area = first_area

    def run(self, victim: Victim) -> Tensor:
        """Ask ``threat.steps`` times from every restart."""
        search = Search(self, victim)
        assert isinstance(self.threat, MapThreat)
        low, high = self.threat.box(search.batch)
        draws = self._draws(search)
        stripes = draws["stripes"][:, :, None].expand_as(low)
        search.evaluate(self._within(torch.where(stripes, high, low), search))
        sizes = torch.tensor(search.batch.sizes(self.threat.sensor), device=low.device)
        y = torch.arange(low.shape[2], device=low.device).view(1, 1, -1, 1)
        x = torch.arange(low.shape[3], device=low.device).view(1, 1, 1, -1)
        for query in range(1, self.threat.steps):
            side = self._side_px(query, sizes)
            room = sizes - side[:, None] + 1
            corner = (draws["corners"][:, query] * room).long()
            top, left = (corner[:, i].view(-1, 1, 1, 1) for i in (0, 1))
            side = side.view(-1, 1, 1, 1)
            inside = (y >= top) & (y < top + side) & (x >= left) & (x < left + side)
            values = torch.where(draws["signs"][:, query, :, None, None], high, low)
            assert search.best is not None
            proposal = torch.where(inside, values, search.best)
            search.evaluate(self._within(proposal, search))
        return search.result()

    def _within(self, variable: Tensor, search: Search) -> Tensor:
        return self.threat.project(variable, search.batch)

    def _side_px(self, query: int, sizes: Tensor) -> Tensor:
        """(R N,) side of the squares in pixels."""
        halvings = sum(query > share * self.threat.steps for share in _HALVINGS)
        area = self.first_area / 2**halvings
        side = (area * sizes.prod(dim=1)).sqrt().round().long()
        return side.clamp(min=1).minimum(sizes.amin(dim=1))

    def _draws(self, search: Search) -> dict[str, Tensor]:
        """Random numbers of every restart and frame, whatever the batching.

        Each frame's depend on its own width, not on how far it is padded.

        Returns:
            ``corners`` (R N, Q, 2) in [0, 1), ``signs`` (R N, Q, C) and ``stripes``
            (R N, C, W) booleans.
        """
        batch, queries = search.victim.batch, self.threat.steps
        _, channels, _, width = self.threat.clean(batch).shape
        draws: dict[str, list[Tensor]] = {"corners": [], "signs": [], "stripes": []}
        for restart in range(self.threat.restarts):
            for frame in range(len(batch)):
                source = self.threat.generator(batch, frame, restart)
                # Stripes first: more queries shall start from the same ones.
                own = batch.sizes(self.threat.sensor)[frame][1]
                stripes = torch.rand((own, channels), generator=source).T
                corners = torch.rand((queries, 2), generator=source)
                signs = torch.rand((queries, channels), generator=source)
                draws["corners"].append(corners)
                draws["signs"].append(signs < 0.5)
                draws["stripes"].append(F.pad(stripes, (0, width - own)) < 0.5)
        device = batch.inputs[self.threat.sensor].device
        return {name: torch.stack(rows).to(device) for name, rows in draws.items()}


@ATTACKS.register_module()
class RandomNoise(Attack):
    """The worst of ``threat.steps`` random draws per restart.

    What any attack must beat: it says how much the budget does by itself.
    """

    def run(self, victim: Victim) -> Tensor:
        """Draw, ask, keep the worst."""
        search = Search(self, victim)
        restarts = self.threat.restarts
        for query in range(self.threat.steps):
            first = query * restarts
            draws = [
                self.threat.random(victim.batch, first + r) for r in range(restarts)
            ]
            search.evaluate(torch.cat(draws))
        return search.result()


@ATTACKS.register_module()
class TransferAttack(Attack):
    """Crafted on another detector, which the attacker has; the victim is never asked.

    Args:
        threat: What may be changed and how hard to try.
        source: The target at hand, or a function that returns it; it must have the
            attacked sensors with the same channels. See :func:`with_sources`.
        search: Config of the attack on the source, without ``threat``.

    Raises:
        ValueError: If the search's type or a field of it is unknown.
    """

    def __init__(
        self,
        threat: ThreatModel,
        *,
        source: Any,
        search: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(threat)
        self.source = source
        self.search = search_for(threat, {"type": "PGD"} | dict(search or {}))

    def run(self, victim: Victim) -> Tensor:
        """Attack the source in the victim's place."""
        if not isinstance(self.source, Target):
            self.source = self.source()
        source, batch = self.source, victim.batch
        self._check(source, batch.sensors)
        with frozen(source):
            victim = Victim(source, batch, self.threat.touched)
            return self.search.on(self.threat).run(victim)

    def _check(self, source: Any, sensors: Mapping[str, Any]) -> None:
        self.threat.check(source.sensors)
        for name, spec in source.sensors.items():
            if name not in sensors or spec.channels != sensors[name].channels:
                raise ValueError(
                    f"threat {self.threat.name!r}: the source detector's {name!r} "
                    "input differs from the victim's"
                )


def with_sources(
    config: Mapping[str, Any], load: Callable[[str, str], Any]
) -> dict[str, Any]:
    """An attack's config with its source detector, if it has one, loadable.

    Args:
        config: Config of an attack; ``source`` is a dict of ``config`` and
            ``checkpoint``, the paths of a detector. Its ``members`` and its ``search``
            may have some, too.
        load: Returns the target of these two paths; called at the first attack.
    """
    loadable, source = dict(config), config.get("source")
    if isinstance(source, Mapping):
        paths = source["config"], source["checkpoint"]
        loadable["source"] = lambda: load(*paths)
    if "members" in config:
        loadable["members"] = [with_sources(one, load) for one in config["members"]]
    if isinstance(config.get("search"), Mapping):
        loadable["search"] = with_sources(config["search"], load)
    return loadable
