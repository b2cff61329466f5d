"""CURVE keys and who may connect: key files, the allow list, and the ZAP answers (ZeroMQ RFC 27).

Key files have pyzmq's certificate format. The secret file is readable by its owner only and never overwritten.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import zmq
import zmq.auth
import zmq.utils.z85

from splitd.errors import ConfigError, UsageError

PUBLIC_SUFFIX = ".key"
SECRET_SUFFIX = ".key_secret"  # noqa: S105 - a file name
_Z85_KEY_BYTES = 40


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A CURVE key pair in Z85 (40 bytes each)."""

    public: bytes
    secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ClientKeys:
    """What a device needs: its own pair and the public key of the server that it trusts."""

    own: KeyPair
    server_public: bytes


def generate_keys(directory: Path | str, name: str = "splitd") -> tuple[Path, Path]:
    """Write a new key pair as DIRECTORY/NAME.key and NAME.key_secret (mode 0600); return the two paths.

    The directory is made if it is missing. Raises UsageError if one of the files exists already, or cannot be written.
    """
    directory = Path(directory)
    public, secret = directory / f"{name}{PUBLIC_SUFFIX}", directory / f"{name}{SECRET_SUFFIX}"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        # Made in a private directory first: the secret must not be readable by others even for a moment.
        with tempfile.TemporaryDirectory(dir=directory) as private:
            made_public, made_secret = (Path(path) for path in zmq.auth.create_certificates(private, name))
            made_public.chmod(0o644)
            made_secret.chmod(0o600)
            os.link(made_secret, secret)  # fails where the file exists; a rename would replace it
            os.link(made_public, public)
    except FileExistsError as error:
        raise UsageError(f"{error.filename2 or error.filename} exists; remove it or choose another name") from error
    except OSError as error:
        raise UsageError(f"cannot write keys to {directory}: {error.strerror}") from error
    return public, secret


def load_public(path: Path | str) -> bytes:
    """Return the public key (Z85) of a key file; raises ConfigError if the file has none."""
    return _load(Path(path))[0]


def load_pair(path: Path | str) -> KeyPair:
    """Return the key pair of a secret key file; raises ConfigError if it is not one, or if others may read it."""
    path = Path(path)
    public, secret = _load(path)
    if secret is None:
        raise ConfigError([f"{path}: has no secret key; give the file that ends in {SECRET_SUFFIX}"])
    if path.stat().st_mode & 0o077:
        raise ConfigError([f"{path}: others may read this secret key; run: chmod 600 {path}"])
    return KeyPair(public, secret)


def _load(path: Path) -> tuple[bytes, bytes | None]:
    try:
        public, secret = zmq.auth.load_certificate(path)
    except (OSError, ValueError) as error:
        raise ConfigError([f"{path}: not a key file ({error}); make one with: splitd keygen DIR"]) from error
    for key in (public, secret):
        if key is not None and len(key) != _Z85_KEY_BYTES:
            raise ConfigError([f"{path}: a key of {len(key)} characters instead of {_Z85_KEY_BYTES}"])
    return public, secret


class AllowList:
    """The public keys that may connect: given ones, and those of a file with one key a line.

    Behind a key its line may hold a name; empty lines and lines that begin with `#` are comments. `reload` reads the
    file again and keeps the old list if it raises ConfigError.
    """

    def __init__(self, keys: Iterable[bytes] = (), file: Path | str | None = None) -> None:
        self._fixed = frozenset(keys)
        self._file = None if file is None else Path(file)
        self._allowed = self._fixed
        self.reload()

    def __len__(self) -> int:
        return len(self._allowed)

    def permits(self, public: bytes) -> bool:
        """Return whether this public key (Z85) may connect."""
        return public in self._allowed

    def reload(self) -> None:
        """Read the file again."""
        if self._file is None:
            return
        try:
            text = self._file.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError([f"{self._file}: cannot read the allow list: {error}"]) from error
        self._allowed = self._fixed | frozenset(self._parse(text.splitlines()))

    def _parse(self, lines: list[str]) -> Iterator[bytes]:
        for number, line in enumerate(lines, start=1):
            word = (line.split() or ["#"])[0]
            # `#` is also a letter of Z85, so a word that is a key counts before a word that begins a comment.
            if _is_z85_key(word):
                yield word.encode()
            elif not word.startswith("#"):
                raise ConfigError([f"{self._file}:{number}: not a public key of {_Z85_KEY_BYTES} characters (Z85)"])


def _is_z85_key(word: str) -> bool:
    return len(word) == _Z85_KEY_BYTES and set(word.encode()) <= set(zmq.utils.z85.Z85CHARS)


def zap_reply(request: Sequence[bytes], allow: AllowList) -> list[bytes]:
    """Return the answer to one ZAP request: 200 for a CURVE key on the list, 400 for everything else."""
    version, request_id = (*request[:2], b"", b"")[:2]
    mechanism = request[5] if len(request) > 5 else b""
    key = request[6] if len(request) == 7 else b""
    if version == b"1.0" and mechanism == b"CURVE" and len(key) == 32:
        public: bytes = zmq.utils.z85.encode(key)
        if allow.permits(public):
            return [b"1.0", request_id, b"200", b"OK", public, b""]
    return [b"1.0", request_id, b"400", b"this key is not on the server's allow list", b"", b""]
