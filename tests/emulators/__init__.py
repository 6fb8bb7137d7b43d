"""Clouds to test against: they speak vendors' HTTP APIs, and their servers are real machines."""
