"""KITTI's object layout: files, frames, preparation."""
