"""What crosses the link, as bytes: codecs and their labels, chunks and their sizes, whole batches en- and decoded.

Modules, from the bottom up: `spec` (registry, labels, parser), `plan` (chunks, and what they cost on the wire),
`select` (the compiled codecs, or their twin), `codecs` (one chunk, one tensor), `images` (streams of JPEG files),
`crossing` (a batch, as both daemons and calibration run it). C kernels are in `kernels/`, their Python twins in
`pure/`. Nothing here knows models, messages or links.
"""
