"""Payments, and the one edge to merchants, payers, providers and staff."""
