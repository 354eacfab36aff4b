"""Synthetic drives in nuScenes' format."""
