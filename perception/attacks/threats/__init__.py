"""What an attacker may change, and by how much: one threat model per file."""
