"""The Python twin of the compiled codecs: the same bytes from numpy, for machines without the extension.

It is also what the extension is tested against, byte by byte. Every formula follows the header of the same subject in
`native/kernels/`, where the reasons are. `SPLITD_PURE_PYTHON=1` chooses it; nobody imports it by name.
"""

from splitd.native.pure.codec import NAME, decode, encode, max_encoded_bytes, shuffle, unshuffle

__all__ = ["NAME", "decode", "encode", "max_encoded_bytes", "shuffle", "unshuffle"]
