"""Pure geometry: no torch models, no mmdet."""
