"""Synthetic street scenes, ray-cast into the KITTI layout."""
