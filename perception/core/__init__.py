"""What every room builds on: values, files, geometry, configs, checkpoints."""
