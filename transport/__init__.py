"""Bytes on the link: the wire format, both ends of a session, the link estimate, keys; each folder here is a room."""
