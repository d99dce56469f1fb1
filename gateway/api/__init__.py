"""Thin controllers, one resource a file."""
