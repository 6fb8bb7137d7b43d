"""Packer as an oven: a folder that anybody's Packer can build, and our own way of calling it.

`folder` renders `packer/`, `process` runs Packer through packer.py, `gate` proves a baked server
before its snapshot is taken; `cloud` and `virtual` are the whole runs of `build-image --provider`.
"""
