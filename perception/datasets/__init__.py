"""Readers, writers and transforms of frames."""
