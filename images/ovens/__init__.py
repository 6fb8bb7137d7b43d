"""Ovens turn a recipe into a bootable image; the local one needs Linux, root and no cloud."""
