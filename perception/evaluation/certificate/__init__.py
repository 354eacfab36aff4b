"""What no attack on one sensor can do to an aggregator: hide, move, make up."""
