"""Figures that tie to the ledger; read-only."""
