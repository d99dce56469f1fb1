"""Measurements: always a ratio to something run beside it, never a rate alone."""
