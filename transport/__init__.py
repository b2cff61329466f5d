"""Bytes on the link: wire format, sessions, link estimate, keys."""
