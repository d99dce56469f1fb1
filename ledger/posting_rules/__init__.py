"""Every entry that this business can make, one function an event."""
