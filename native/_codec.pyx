# cython: language_level=3
"""The compiled tensor codecs: buffers in, sizes checked, one nogil call per chunk. The contract is in `_codec.pyi`."""

from cpython.buffer cimport PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int64_t, uint8_t

from splitd.errors import CodecError

cdef extern from "codec.h" nogil:
    enum:
        SPLITD_UNREPRESENTABLE
        SPLITD_CAPACITY
        SPLITD_GEOMETRY
        SPLITD_LENGTH
        SPLITD_PARAMETERS
        SPLITD_CODEC
        SPLITD_MODE
        SPLITD_TABLE
        SPLITD_STREAM
    size_t splitd_max_encoded(int codec, size_t n, size_t plane)
    int64_t splitd_encode(int codec, const float *x, size_t n, size_t plane, size_t row, uint8_t *out,
                          size_t capacity)
    int splitd_decode(int codec, const uint8_t *data, size_t length, float *x, size_t n, size_t plane)
    void shuffle_bytes(const uint8_t *data, size_t items, size_t item_bytes, uint8_t *out)
    void unshuffle_bytes(const uint8_t *data, size_t items, size_t item_bytes, uint8_t *out)

NAME = "compiled"

_TEXTS = {
    SPLITD_CAPACITY: "the output buffer is smaller than max_encoded_bytes()",
    SPLITD_GEOMETRY: "the chunk's elements and plane size contradict each other or pass the limit",
    SPLITD_LENGTH: "the payload's length contradicts its contents",
    SPLITD_PARAMETERS: "the payload holds parameters that no encoder writes",
    SPLITD_CODEC: "unknown codec",
    SPLITD_MODE: "the payload's mode or row width is one that no encoder writes",
    SPLITD_TABLE: "the payload's code lengths make no complete prefix code",
    SPLITD_STREAM: "a bit stream of the payload does not end where it should",
}


cdef object _failure(int64_t status):
    return CodecError(_TEXTS.get(status, f"codec status {status}"))


cdef int _acquire(object buffer, Py_buffer *view, int flags) except -1:
    """A contiguous view of the caller's buffer, in the error tree's terms."""
    try:
        return PyObject_GetBuffer(buffer, view, PyBUF_C_CONTIGUOUS | flags)
    except (BufferError, ValueError) as error:
        raise CodecError(f"cannot use the buffer: {error}") from error


cdef float *_floats(Py_buffer *view, Py_ssize_t first, Py_ssize_t n) except NULL:
    """Where elements first..first+n of a float32 buffer lie."""
    if view.itemsize != 4 or view.format == NULL or view.format[0] != b"f" or <size_t> view.buf % 4:
        raise CodecError("the tensor is not aligned float32")
    if first < 0 or n < 0 or first > view.len // 4 - n:
        raise CodecError(f"elements {first}..{first + n} are outside a tensor of {view.len // 4}")
    return <float *> view.buf + first


def encode(int codec, object values, plan, object out):
    cdef Py_ssize_t first, n, plane, row
    cdef Py_buffer source, target
    cdef const float *x
    cdef int64_t written
    first, n, plane, row = plan
    _acquire(values, &source, PyBUF_FORMAT)
    try:
        x = _floats(&source, first, n)
        _acquire(out, &target, PyBUF_WRITABLE)
        with nogil:
            written = splitd_encode(codec, x, n, plane, row, <uint8_t *> target.buf, target.len)
        PyBuffer_Release(&target)
    finally:
        PyBuffer_Release(&source)
    if written < 0 and written != SPLITD_UNREPRESENTABLE:
        raise _failure(written)
    return written


def decode(int codec, object payload, plan, object out):
    cdef Py_ssize_t first, n, plane
    cdef Py_buffer source, target
    cdef float *x
    cdef int status
    first, n, plane, _ = plan
    _acquire(out, &target, PyBUF_FORMAT | PyBUF_WRITABLE)
    try:
        x = _floats(&target, first, n)
        _acquire(payload, &source, PyBUF_SIMPLE)
        with nogil:
            status = splitd_decode(codec, <const uint8_t *> source.buf, source.len, x, n, plane)
        PyBuffer_Release(&source)
    finally:
        PyBuffer_Release(&target)
    if status < 0:
        raise _failure(status)


def max_encoded_bytes(int codec, plan):
    cdef Py_ssize_t n, plane
    _, n, plane, _ = plan
    if n < 0 or plane <= 0:
        raise _failure(SPLITD_GEOMETRY)
    return splitd_max_encoded(codec, n, plane)


cdef object _rearrange(object data, Py_ssize_t item_bytes, bint back):
    cdef Py_buffer source
    cdef bytearray out
    cdef uint8_t *target
    _acquire(data, &source, PyBUF_SIMPLE)
    try:
        if item_bytes <= 0 or source.len % item_bytes:
            raise CodecError(f"{source.len} bytes are not whole items of {item_bytes}")
        out = bytearray(source.len)
        target = out
        with nogil:
            if back:
                unshuffle_bytes(<const uint8_t *> source.buf, source.len // item_bytes, item_bytes, target)
            else:
                shuffle_bytes(<const uint8_t *> source.buf, source.len // item_bytes, item_bytes, target)
    finally:
        PyBuffer_Release(&source)
    return out


def shuffle(object data, Py_ssize_t item_bytes):
    return _rearrange(data, item_bytes, False)


def unshuffle(object data, Py_ssize_t item_bytes):
    return _rearrange(data, item_bytes, True)
