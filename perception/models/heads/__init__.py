"""MMDetection's dense heads, their raw outputs and losses."""
