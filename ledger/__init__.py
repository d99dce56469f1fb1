"""Double-entry books: the only record of who has what."""
