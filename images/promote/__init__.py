"""The operator's side of a promote: a lease, one table of steps with their probes, one journal."""
