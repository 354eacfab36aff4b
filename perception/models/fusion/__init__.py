"""Exchangeable fusion necks."""
