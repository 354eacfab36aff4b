"""nuScenes: tables, index, files, frames, preparation."""
