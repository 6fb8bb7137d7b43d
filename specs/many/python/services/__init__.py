"""Small services, each a module: `python3 -m services.links`. They share one image layer."""
