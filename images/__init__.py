"""A Plan becomes an image, and an image a server: lock, bake, pack, prove, store, run."""
