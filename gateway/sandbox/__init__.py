"""The other side of each protocol."""
