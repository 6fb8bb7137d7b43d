"""Container images without Dockerfile, daemon or registry: built, imported or fetched, as blobs.

Every image becomes a folder of one form, made to be merged with those of other apps:

    <app>.json             the OCI index that names the image and points at its manifest
    blobs/sha256/<digest>  manifest, configuration, layers: content-addressed, so shared ones merge

`images/server/load_images.py` turns such a folder into one OCI archive for `docker load`.
"""
