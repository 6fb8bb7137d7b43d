"""A Plan becomes cloud-init documents: `bake.yaml` makes the image, `boot.yaml` one server."""
