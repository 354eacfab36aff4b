"""Random street scenes, ray-cast for every sensor, in the KITTI object layout."""
