"""Registered names: what ``target = dict(type=...)`` of a config may call ``type``."""

from __future__ import annotations

from mmengine.registry import Registry

TARGETS = Registry("target")
