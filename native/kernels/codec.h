/* The two entry points: one chunk in, one chunk out. Everything hostile is refused here or below with a status. */
#ifndef SPLITD_CODEC_H
#define SPLITD_CODEC_H

#include "common.h"
#include "entropy.h"
#include "exponents.h"
#include "half.h"
#include "quantise.h"
#include "shuffle.h"

SPLITD_INLINE int valid_geometry(size_t n, size_t plane) {
    return n <= SPLITD_MAX_CHUNK_ELEMENTS && plane != 0 && n % plane == 0;
}

SPLITD_INLINE size_t parameter_bytes(size_t n, size_t plane) { return n / plane * PARAMETER_BYTES; }

/* Bits of a value before entropy coding, 0 for other codecs. */
SPLITD_INLINE unsigned coded_bits(int codec) {
    return codec == SPLITD_U8H ? 8 : codec == SPLITD_U6H ? 6 : codec == SPLITD_U4H ? 4 : 0;
}

/* What `splitd_encode` may write, scratch included; 0 for a codec that is not coded here. */
SPLITD_FN size_t splitd_max_encoded(int codec, size_t n, size_t plane) {
    switch (codec) {
    case SPLITD_F16:
        return 2 * n;
    case SPLITD_U8:
        return parameter_bytes(n, plane) + n;
    case SPLITD_F32X:
        return max_exponents(n);
    default:
        return coded_bits(codec) ? parameter_bytes(n, plane) + max_coded(n, coded_bits(codec)) : 0;
    }
}

SPLITD_FN int64_t encode_u8(const float *x, size_t n, size_t plane, uint8_t *out) {
    size_t head = parameter_bytes(n, plane);
    int status = quantise_planes(x, n, plane, 255, out, out + head);
    return status < 0 ? status : (int64_t)(head + n);
}

SPLITD_FN int decode_u8(const uint8_t *in, size_t length, float *x, size_t n, size_t plane) {
    size_t head = parameter_bytes(n, plane);
    if (length != head + n) return SPLITD_LENGTH;
    return restore_planes(in, in + head, n, plane, x);
}

SPLITD_FN int64_t encode_coded(const float *x, size_t n, size_t plane, size_t row, unsigned bits, uint8_t *out) {
    size_t head = parameter_bytes(n, plane);
    int status = quantise_planes(x, n, plane, (1u << bits) - 1, out, SCRATCH.values);
    return status < 0 ? status : (int64_t)(head + encode_values(n, plane, row, bits, out + head));
}

SPLITD_FN int decode_coded(const uint8_t *in, size_t length, float *x, size_t n, size_t plane, unsigned bits) {
    size_t head = parameter_bytes(n, plane);
    if (length < head) return SPLITD_LENGTH;
    int status = decode_values(in + head, length - head, n, plane, bits);
    return status < 0 ? status : restore_planes(in, SCRATCH.values, n, plane, x);
}

/* Encodes n floats, planes of `plane` with rows of `row` (0: none), into `out`: bytes written, or a negative status. */
SPLITD_FN int64_t splitd_encode(int codec, const float *x, size_t n, size_t plane, size_t row, uint8_t *out,
                                size_t capacity) {
    if (!valid_geometry(n, plane)) return SPLITD_GEOMETRY;
    if (capacity < splitd_max_encoded(codec, n, plane)) return SPLITD_CAPACITY;
    int status;
    switch (codec) {
    case SPLITD_F16:
        status = encode_half(x, n, out);
        return status < 0 ? status : (int64_t)(2 * n);
    case SPLITD_U8:
        return encode_u8(x, n, plane, out);
    case SPLITD_F32X:
        return (int64_t)encode_exponents(x, n, out);
    default:
        return coded_bits(codec) ? encode_coded(x, n, plane, row, coded_bits(codec), out) : SPLITD_CODEC;
    }
}

/* Decodes exactly n floats from exactly `length` bytes. On a negative status `x` holds anything, within its bounds. */
SPLITD_FN int splitd_decode(int codec, const uint8_t *in, size_t length, float *x, size_t n, size_t plane) {
    if (!valid_geometry(n, plane)) return SPLITD_GEOMETRY;
    switch (codec) {
    case SPLITD_F16:
        return length == 2 * n ? decode_half(in, n, x) : SPLITD_LENGTH;
    case SPLITD_U8:
        return decode_u8(in, length, x, n, plane);
    case SPLITD_F32X:
        return decode_exponents(in, length, x, n);
    default:
        return coded_bits(codec) ? decode_coded(in, length, x, n, plane, coded_bits(codec)) : SPLITD_CODEC;
    }
}

#endif
