"""A street, who is in it, and its light."""
