"""Checksummed JSON documents in the state directory: written whole or not at all, and never believed when damaged."""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

import xxhash

from splitd.errors import ProfileError

log = logging.getLogger(__name__)

SCHEMA_VERSION = 1
MODE = 0o644  # no secrets here, and the daemon reads what `sudo splitd calibrate` wrote
MAX_DOCUMENT_BYTES = 64 << 20  # raw samples of 100 cuts x 16 batch sizes x 10 codecs x 1000 repeats stay below this


class Key(Protocol):
    """What a document depends on."""

    def changes(self, other: Any) -> list[str]:
        """Say what differs between this key and another of its kind; empty if nothing does."""


class Keyed(Protocol):
    """A document that says what it depends on."""

    @property
    def key(self) -> Key:
        """Its key."""


Loaded = TypeVar("Loaded", bound=Keyed)


def save_document(path: Path, kind: str, body: dict[str, Any]) -> None:
    """Write `body` so that a crash or a full disk leaves either the old file or the new one.

    Raises:
        ProfileError: The directory cannot be written; nothing was changed.
    """
    text = _dump(body)
    document = _dump({"schema_version": SCHEMA_VERSION, "kind": kind, "checksum": _checksum(text), "body": body})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace(path, document.encode())
    except OSError as error:
        reason = error.strerror or str(error)
        raise ProfileError(f"{path}: the {kind} cannot be saved ({reason}); make {path.parent} writable") from error


def load_document(path: Path, kind: str) -> dict[str, Any] | None:
    """Return the body that `save_document` wrote; None if there is no such file.

    Raises:
        ProfileError: The file is unreadable, damaged, truncated, or of another kind or schema.
    """
    text = _read(path, kind)
    if text is None:
        return None
    try:
        document = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise damaged(path, kind, "it is not a whole JSON document") from error
    if not isinstance(document, dict) or document.get("kind") != kind:
        raise damaged(path, kind, "it is something else")
    if document.get("schema_version") != SCHEMA_VERSION:
        raise damaged(path, kind, f"its schema version is {document.get('schema_version')!r}, not {SCHEMA_VERSION}")
    body = document.get("body")
    if not isinstance(body, dict) or document.get("checksum") != _checksum(_dump(body)):
        raise damaged(path, kind, "its checksum does not match")
    return body


def load_keyed(path: Path, kind: str, key: Key, read: Callable[[dict[str, Any]], Loaded]) -> Loaded | None:
    """Return what `read` makes of a saved body; None if there is none, or if it was made under another key (logged).

    Raises:
        ProfileError: The file is damaged or cannot be read; the message says how to mend it.
    """
    body = load_document(path, kind)
    if body is None:
        return None
    try:
        found = read(body)
    except ProfileError as error:
        raise damaged(path, kind, str(error)) from error
    if changes := found.key.changes(key):
        log.info("%s: the saved %s no longer fits and is measured anew: %s", path, kind, "; ".join(changes))
        return None
    return found


def damaged(path: Path, kind: str, reason: str) -> ProfileError:
    """Return the error for a file that cannot be used, with the way out."""
    return ProfileError(f"{path}: this {kind} is damaged: {reason}; delete it, or run `splitd calibrate` to replace it")


def _read(path: Path, kind: str) -> bytes | None:
    try:
        with path.open("rb") as file:
            text = file.read(MAX_DOCUMENT_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ProfileError(f"{path}: the {kind} cannot be read ({error.strerror or error}); mend its mode") from error
    if len(text) > MAX_DOCUMENT_BYTES:
        raise damaged(path, kind, f"it is larger than {MAX_DOCUMENT_BYTES} bytes")
    return text


def _replace(path: Path, content: bytes) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(file.fileno(), MODE)
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_directory(path.parent)


def _sync_directory(path: Path) -> None:
    """Make the rename itself durable: after a power cut the directory must not show the old name."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _dump(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True, allow_nan=False)


def _checksum(text: str) -> str:
    return xxhash.xxh3_128_hexdigest(text.encode())
