"""How an attack looks for the worst input: one search per file."""
