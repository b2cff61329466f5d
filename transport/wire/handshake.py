"""Who may work together: protocol version, model and cuts are compared before any tensor crosses."""

from __future__ import annotations

from collections.abc import Sequence

import xxhash

from splitd.transport.wire.limits import PROTOCOL_VERSION
from splitd.transport.wire.messages import NO_MODEL, Hello, Refuse


def names_hash(names: Sequence[str]) -> str:
    """Return 32 hex digits that stand for an ordered list of cut names."""
    return xxhash.xxh3_128_hexdigest("\0".join(names).encode())


def refusal(hello: Hello, *, model_digest: str, cut_names_hash: str) -> Refuse | None:
    """Return why the server does not work with this device; None if both run the same model and the same cuts."""
    if hello.model_digest != model_digest:
        return Refuse(
            "model-mismatch",
            f"the device runs model {hello.model_digest}, the server {model_digest}: configure the same model, weights "
            "and image size on both ends",
        )
    if hello.cut_names_hash != cut_names_hash:
        return Refuse(
            "cut-mismatch",
            f"the device's list of cuts is {hello.cut_names_hash}, the server's {cut_names_hash}: configure the same "
            "cuts on both ends",
        )
    return None


def newcomer(version: str, name: str) -> Hello:
    """Return the HELLO of a device that has no network yet."""
    return Hello(NO_MODEL, NO_MODEL, version, name)


def is_newcomer(hello: Hello) -> bool:
    """Return whether a device has no network yet."""
    return hello.model_digest == NO_MODEL


def version_refusal(theirs: int) -> Refuse:
    """Return the refusal for a peer of another protocol version."""
    return Refuse(
        "version",
        f"this end speaks protocol version {PROTOCOL_VERSION}, the other end {theirs}: install the same splitd on both",
    )
