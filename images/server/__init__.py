"""The programs that run on servers. Standard library only: they are payload of every image."""
