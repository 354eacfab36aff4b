"""Options of a config: checked against it, and what depends on them follows."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from typing import Any

import mmdet.registry
from mmengine.config import Config
from mmengine.dataset import DefaultSampler
from mmengine.registry import Registry
from mmengine.runner import Runner, set_random_seed
from torch.utils.data import DataLoader

from perception.core.structures import DataError
from perception.core.words import did_you_mean

LOADERS = ("train_dataloader", "val_dataloader", "test_dataloader")
# Entries of a config that change others: the data's folder, and what they say.
VARIABLES = ("data_root", "depth_dir", "max_epochs", "input_size", "classes")
# Entries that a config may lack: what MMEngine's runner reads, and these.
_OPTIONAL = {
    *inspect.signature(Runner).parameters,
    *("activation_checkpointing", "compile", "custom_imports", "default_scope"),
    *("efficient_conv_bn_eval", "find_unused_parameters", "model_wrapper_cfg"),
    *("sync_bn", *VARIABLES),
}


def check_options(config: Config, options: Mapping[str, Any]) -> None:
    """Refuse options that nothing would read, such as misspelt ones.

    A new entry is allowed where the constructor of its dict's ``type`` takes it; in a
    dict without a ``type`` unless it looks like one that is there.

    Raises:
        DataError: Naming the option, and the entry that may have been meant.
    """
    for option in options:
        where: Any = config._cfg_dict
        for depth, word in enumerate(option.split(".")):
            path = ".".join(option.split(".")[: depth + 1])
            if isinstance(where, Sequence) and not isinstance(where, str):
                if not word.isdecimal() or int(word) >= len(where):
                    raise _no_entry(config, path, map(str, range(len(where))))
                where = where[int(word)]
                continue
            if not isinstance(where, Mapping):
                raise _no_entry(config, path, ())
            if depth == 0 and word not in _OPTIONAL:
                raise _no_entry(config, path, [*_OPTIONAL, *config])
            known = _entries(where, option) if depth else _OPTIONAL
            if word not in where:
                near = did_you_mean(word, where) if known is None else ""
                if near or (known is not None and word not in known):
                    raise _no_entry(config, path, {*where, *(known or ())})
                break
            where = where[word]


def _no_entry(config: Config, path: str, known: Any) -> DataError:
    parent, _, word = path.rpartition(".")
    of = f" in {parent}" if parent else ""
    if not parent and word in config:
        return DataError(
            f"{config.filename}: {word!r} is only used while the file is read, so an "
            "option cannot set it; set the entries that it stands for, or write a "
            "config of your own"
        )
    hint = did_you_mean(word, known)
    return DataError(f"{config.filename}: has no entry {word!r} to set{of}{hint}")


def _entries(where: Mapping, option: str) -> set[str] | None:
    """What a dict of a config may hold; None if that cannot be known."""
    if "type" not in where:
        if option.split(".")[0] in LOADERS and "dataset" in where:
            extra = {"num_batch_per_epoch", "dataset"}
            return {*inspect.signature(DataLoader).parameters} | extra
        if option.startswith("randomness."):
            return set(inspect.signature(set_random_seed).parameters)
        if "shuffle" in where:
            return set(inspect.signature(DefaultSampler).parameters)
        return None
    found = _class_of(where["type"])
    if found is None:
        return None
    known = {"type", "_scope_"}
    for one in inspect.getmro(found) if inspect.isclass(found) else (found,):
        if inspect.isclass(one) and "__init__" not in vars(one):
            continue
        parameters = inspect.signature(one).parameters
        known |= set(parameters)
        if all(each.kind is not each.VAR_KEYWORD for each in parameters.values()):
            return known
    return None  # whatever it takes, it hands on


def _class_of(name: Any) -> Any:
    """The class registered under a name anywhere in MMEngine or MMDetection."""
    if not isinstance(name, str):
        return name if inspect.isclass(name) else None
    for registry in vars(mmdet.registry).values():
        while isinstance(registry, Registry):
            if name in registry.module_dict:
                return registry.module_dict[name]
            registry = registry.parent
    return None


def apply_options(config: Config, options: Mapping[str, Any]) -> None:
    """Set options, and let what depends on them follow.

    * ``max_epochs``: the training loop and every schedule that ends with it;
    * ``input_size``, as ``640x192`` or ``(640, 192)``: every ``ResizeFrame``;
    * ``classes``: data sets, heads, overlaps;
    * ``data_root``: the root of every data set that has none of its own;
    * ``depth_dir``: where all of them in KITTI's layout have their depth maps;
    * nuScenes' own evaluation, of the frames and sensors that there are;
    * a loader without workers cannot keep them.

    They may stand in a config as well.

    Raises:
        DataError: If something would not follow; says what to set.
    """
    epochs = (config.get("train_cfg") or {}).get("max_epochs")
    config.merge_from_dict(dict(options))
    loaders = [config[name] for name in LOADERS if config.get(name)]
    training = config.get("train_cfg") or {}
    forced = "max_epochs" in options or "max_epochs" not in training
    if "max_epochs" in config and "type" in training and forced:
        training["max_epochs"] = config.max_epochs
    _follow_epochs(config, options, epochs)
    if config.get("input_size") is not None:
        size = _size_of(config.input_size)
        for step in _dicts(config._cfg_dict, "type", "ResizeFrame"):
            if "size" not in step or "input_size" in options:
                step["size"] = size
    if config.get("classes") is not None:
        _follow_classes(config, loaders, options)
    for loader in loaders:
        if "data_root" in config:
            loader.dataset.frames.setdefault("root", config.data_root)
        if config.get("depth_dir") is not None:
            if loader.dataset.frames.get("type") != "KittiFrames":
                raise DataError(f"{config.filename}: depth_dir is for KittiFrames")
            loader.dataset.frames["depth_dir"] = config.depth_dir
        if not loader.get("num_workers"):
            loader["persistent_workers"] = False
            loader.pop("prefetch_factor", None)
    _tell_nuscenes(config)


def check_classes(config: Config) -> None:
    """Compare the classes of a config's data sets, heads and overlaps.

    Raises:
        DataError: If they differ; says what to set.
    """
    for name in LOADERS:
        dataset = (config.get(name) or {}).get("dataset") or {}
        if (classes := dataset.get("classes")) is None:
            continue
        what = f"{config.filename}: {name}.dataset has the {len(classes)} class(es) "
        what += f"{', '.join(classes)}, but "
        more = "; classes=[...] sets all of them"
        for head in _dicts(config.get("model", {}), "num_classes"):
            if head["num_classes"] != len(classes):
                said = f"{head.get('type')} detects {head['num_classes']}"
                raise DataError(f"{what}{said}{more}")
        part = name.removesuffix("_dataloader")
        evaluator = config.get(f"{part}_evaluator") if part != "train" else None
        for metric in _dicts(evaluator, "type", "KittiMetric"):
            overlaps = metric.get("overlaps")
            for other in overlaps if isinstance(overlaps, Mapping) else ():
                if other not in classes:
                    hint = did_you_mean(other, classes)
                    raise DataError(f"{what}overlaps has {other}{hint}{more}")


def _follow_epochs(
    config: Config, options: Mapping[str, Any], before: int | None
) -> None:
    """Make schedules of the learning rate as long as the training."""
    now = (config.get("train_cfg") or {}).get("max_epochs")
    schedules = config.get("param_scheduler") or []
    for number, one in enumerate([schedules] if "type" in schedules else schedules):
        if now is None or not one.get("by_epoch", True):
            continue
        if one.get("type") == "CosineAnnealingLR":
            one.setdefault("T_max", now)
            one.setdefault("end", now)
        for key in ("T_max", "end", "milestones"):
            path, value = f"param_scheduler.{number}.{key}", one.get(key)
            last = max(value) if isinstance(value, Sequence) else value
            if value is None or path in options or now == before:
                continue
            if value == before:
                one[key] = now
            elif isinstance(last, int) and last > now:
                raise DataError(
                    f"{config.filename}: {path} is {value}, beyond the {now} epochs of "
                    f"the training; set it as well"
                )


def _follow_classes(
    config: Config, loaders: Sequence[MutableMapping], options: Mapping[str, Any]
) -> None:
    """Make data sets, heads and overlaps those of ``config.classes``."""
    classes = config.classes
    classes = (classes,) if isinstance(classes, str) else tuple(classes)
    before = next((x["dataset"].get("classes", ()) for x in loaders), ())
    for where in _dicts(config.get("model", {}), "mean_sizes_m"):
        rows = where["mean_sizes_m"]
        if len(rows) == len(before) and {*classes} <= {*before}:
            where["mean_sizes_m"] = [rows[before.index(name)] for name in classes]
    for loader in loaders:
        loader["dataset"]["classes"] = classes
        merged = loader["dataset"].get("also_train_as")
        if merged:
            loader["dataset"]["also_train_as"] = {
                name: kept
                for name, kept in merged.items()
                if kept in classes and name not in classes
            }
    for head in _dicts(config.get("model", {}), "num_classes"):
        head["num_classes"] = len(classes)
    for metric in _dicts(config._cfg_dict, "type", "KittiMetric"):
        if isinstance(known := metric.get("overlaps"), Mapping):
            asked = {o.rpartition(".overlaps.")[2] for o in options}  # none is ignored
            kept = [
                *classes,
                *(name for name in known if name in {*asked} - {*classes}),
            ]
            metric["overlaps"] = {name: known.get(name, 0.5) for name in kept}


def _tell_nuscenes(config: Config) -> None:
    """Say to nuScenes' evaluation which frames it scores, and of which sensors."""
    for part in ("val", "test"):
        dataset = (config.get(f"{part}_dataloader") or {}).get("dataset") or {}
        frames = dataset.get("frames") or {}
        known = {
            key: frames[key] for key in ("root", "version", "split") if key in frames
        }
        known["sensors"] = tuple((config.get("model") or {}).get("branches") or ())
        evaluator = config.get(f"{part}_evaluator")
        for metric in _dicts(evaluator, "type", "NuScenesMetric"):
            for key, value in known.items():
                metric.setdefault(key, value)


def _size_of(size: Any) -> tuple[int, int]:
    """Width and height of ``640x192`` or ``(640, 192)``."""
    parts = size.split("x") if isinstance(size, str) else size
    try:
        width, height = (int(part) for part in parts)
    except (TypeError, ValueError) as error:
        raise DataError(f"input_size is WIDTHxHEIGHT in px, got {size!r}") from error
    return width, height


def _dicts(where: Any, key: str, value: Any = None) -> Iterator[MutableMapping]:
    """Every dict within a config that has a key, of this value if one is given."""
    if isinstance(where, MutableMapping):
        if key in where and value in (None, where[key]):
            yield where
        for inner in where.values():
            yield from _dicts(inner, key, value)
    elif isinstance(where, list | tuple):
        for inner in where:
            yield from _dicts(inner, key, value)
