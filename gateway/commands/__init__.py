"""Commands of `quickkub`, one group a file; `gateway/cli.py` puts them together."""
