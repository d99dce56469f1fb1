"""Intents, attempts, facts, refunds: the way a payment changes."""
