"""The sha256 of a file."""

from __future__ import annotations

import hashlib
from pathlib import Path

_PIECE = 8 << 20  # bytes: after each piece a thread waits until the others let it go on


def sha256_of(path: Path) -> str:
    """Sha256 of a file's bytes, in hex."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        piece = memoryview(bytearray(min(_PIECE, path.stat().st_size) or 1))
        while read := file.readinto(piece):
            digest.update(piece[:read])
    return digest.hexdigest()
