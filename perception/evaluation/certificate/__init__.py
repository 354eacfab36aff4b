"""What no attack on one sensor can do to an aggregator: hide objects, make ghosts."""
