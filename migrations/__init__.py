"""Schema, one step after another; run by the owner role only."""
