"""What every room of the gateway stands on."""
