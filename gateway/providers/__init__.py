"""One adapter a provider, to its documented protocol."""
