"""Who leads: the lease, how a leader leaves, and what a new one takes over before it decides anything."""
