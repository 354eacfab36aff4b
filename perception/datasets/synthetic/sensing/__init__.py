"""What sensors make of a world."""
