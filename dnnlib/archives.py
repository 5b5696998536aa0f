"""Entries of zips that others packed: what they unpack to is bounded, whatever their headers say."""

import lzma
import struct
import zipfile
import zlib

ALWAYS_BYTES = 1 << 26
"""What an entry may unpack to however small it is in the zip."""
MOST_RATIO = 100
"""How many times its size in the zip an entry may unpack to beyond that; photographs reach 2, plain drawings 50."""
MOST_BYTES = 1 << 30

ZIP_ERRORS = (
    OSError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    RuntimeError,  # encrypted; unknown methods of compression
    ValueError,
    LookupError,
    OverflowError,
    MemoryError,  # LZMA's header says how much memory it wants
)
"""What `zipfile` raises for damaged archives, depending on where the damage is."""


def read_entry(archive: zipfile.ZipFile, name: str, most: int = MOST_BYTES) -> bytes:
    """The bytes of an entry, unpacked piece by piece.

    Raises:
        one of `ZIP_ERRORS`: damaged, encrypted, or unpacking to more than `most`, or than `MOST_RATIO` times its size
            in the archive (`ALWAYS_BYTES` if that is less).
    """
    info = archive.getinfo(name)
    bound = min(most, max(ALWAYS_BYTES, MOST_RATIO * min(info.compress_size, archive.start_dir)))
    # What one piece of the others unpacks to is not bounded by zipfile: it may be thousands of times as much.
    piece = 1 << 20 if info.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) else 1 << 12
    unpacked = bytearray()
    with archive.open(info) as stream:
        while data := stream.read1(piece):
            unpacked += data
            if len(unpacked) > bound:
                raise ValueError(f"it unpacks to more than {bound} bytes, from {info.compress_size}")
    return bytes(unpacked)


def read_head(archive: zipfile.ZipFile, name: str, size: int) -> bytes:
    """The first `size` bytes of an entry. Raises one of `ZIP_ERRORS`."""
    with archive.open(name) as stream:
        return stream.read(size)
