"""Directory layers become a raw GPT disk that boots by BIOS and by UEFI (amd64), bit for bit.

`tree` reads layers and folds them, `ext4` makes the file system of the package layers and patches
the last layer in, `boot` and `gpt` put the boot loaders and partitions around it, `chunks` knows
the digest, `tools` runs whatever shapes bits from the locked tools layer, and `fold` is the whole.
"""

from images.disk.fold import Base, Disk, Draft, Tools, begin, content, pack

__all__ = ["Base", "Disk", "Draft", "Tools", "begin", "content", "pack"]
