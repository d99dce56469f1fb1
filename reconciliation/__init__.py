"""What others say happened, held against our books."""
