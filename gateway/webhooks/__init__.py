"""Callbacks in, events out."""
