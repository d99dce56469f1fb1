"""What finance reads: figures that tie to the ledger."""
