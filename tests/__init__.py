"""Architecture, rules and races, on real servers."""
