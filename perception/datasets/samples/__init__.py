"""Samples that are classified as a whole, as frames of arrays."""
