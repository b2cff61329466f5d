"""The tensor codecs: compiled, with a pure-Python twin that makes the same bytes."""
