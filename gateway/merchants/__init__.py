"""Accounts, members, keys, fee plans."""
