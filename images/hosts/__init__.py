"""Who a server is, for SSH: a CA of the spec signs the host keys that servers make themselves."""
