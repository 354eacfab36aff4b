"""Patches: printed textures that an attacker puts into the scene."""
