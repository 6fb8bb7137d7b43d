"""The digest of a raw disk: sha256 over the sha256 digests of its 4 MiB chunks, in order.

Chunks that are holes are known, and so are chunks that equal those of a base whose digests are
known: comparing is cheaper than hashing on any processor, and cannot be wrong about what changed.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from specs.errors import BakehouseError

CHUNK: Final = 4 * 1024 * 1024
"""Bytes; the last chunk of a disk may be shorter."""


@dataclass(frozen=True, slots=True)
class Chunks:
    """The digests (hex) of a disk's chunks, and the disk's own."""

    digests: tuple[str, ...]

    @property
    def digest(self) -> str:
        """The digest of the whole disk, hex."""
        return hashlib.sha256(b"".join(bytes.fromhex(one) for one in self.digests)).hexdigest()


def extents(handle: int, size: int) -> Iterator[tuple[int, int]]:
    """Where an open file has data: (start, end) in bytes."""
    end = 0
    while end < size:
        try:
            start = os.lseek(handle, end, os.SEEK_DATA)
        except OSError:
            return
        end = os.lseek(handle, start, os.SEEK_HOLE)
        yield start, end


def copy_sparse(source: Path, target: Path) -> None:
    """Copy a file with its holes; the kernel shares blocks where the file system can."""
    with source.open("rb") as reader, target.open("xb") as writer:
        size = os.fstat(reader.fileno()).st_size
        writer.truncate(size)
        for start, end in extents(reader.fileno(), size):
            position = start
            while position < end:
                done = os.copy_file_range(
                    reader.fileno(), writer.fileno(), end - position, position, position
                )
                if done == 0:
                    raise BakehouseError(f"{source} became shorter while it was copied")
                position += done


def digest(disk: Path, base: Path | None = None, known: Chunks | None = None) -> Chunks:
    """The digests of `disk`; chunks that it shares with `base` are taken from `known`."""
    size = disk.stat().st_size
    zero = hashlib.sha256(bytes(CHUNK)).hexdigest()
    last = size % CHUNK
    result = [zero] * (size // CHUNK)
    if last:
        result.append(hashlib.sha256(bytes(last)).hexdigest())
    handles = [os.open(path, os.O_RDONLY | os.O_CLOEXEC) for path in (disk, base) if path]
    try:
        told = known.digests if known and base else ()
        one = _reader(handles, told)
        wanted = _with_data(handles[0], size)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for number, found in zip(wanted, pool.map(one, wanted), strict=True):
                result[number] = found
    finally:
        for handle in handles:
            os.close(handle)
    return Chunks(tuple(result))


def _with_data(handle: int, size: int) -> list[int]:
    numbers: set[int] = set()
    for start, end in extents(handle, size):
        numbers.update(range(start // CHUNK, -(-end // CHUNK)))
    return sorted(numbers)


def _reader(handles: list[int], told: tuple[str, ...]) -> Callable[[int], str]:
    def read(number: int) -> str:
        content = os.pread(handles[0], CHUNK, number * CHUNK)
        if number < len(told) and os.pread(handles[1], CHUNK, number * CHUNK) == content:
            return told[number]
        return hashlib.sha256(content).hexdigest()

    return read
