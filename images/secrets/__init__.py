"""Secrets: an encrypted file beside the spec, and the way from it to a server's memory."""
