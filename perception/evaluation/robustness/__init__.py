"""What attacks and corruptions leave of a detector."""
