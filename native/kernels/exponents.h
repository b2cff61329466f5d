/* Lossless float32: the exponents Huffman-coded, sign and mantissa raw in three byte planes.
 *
 * An activation's exponent takes about 3 bits; its other 24 carry no redundancy that a fast coder finds.
 */
#ifndef SPLITD_EXPONENTS_H
#define SPLITD_EXPONENTS_H

#include "common.h"
#include "entropy.h"
#include "symbols.h"

enum exponent_mode { EXPONENTS_STORED = 0, EXPONENTS_CODED = 1 };
#define RAW_PLANES 3u

/* Rotated left by one bit the float's exponent is its top byte. */
SPLITD_CLONES SPLITD_FN void split_floats(const float *restrict x, size_t n, uint8_t *restrict exponents,
                                          uint8_t *restrict low, uint8_t *restrict middle, uint8_t *restrict high) {
    for (size_t i = 0; i < n; i++) {
        uint32_t bits = bits_of(x[i]), turned = bits << 1 | bits >> 31;
        exponents[i] = (uint8_t)(turned >> 24);
        low[i] = (uint8_t)turned;
        middle[i] = (uint8_t)(turned >> 8);
        high[i] = (uint8_t)(turned >> 16);
    }
}

SPLITD_CLONES SPLITD_FN void join_floats(const uint8_t *restrict exponents, const uint8_t *restrict low,
                                         const uint8_t *restrict middle, const uint8_t *restrict high, size_t n,
                                         float *restrict x) {
    for (size_t i = 0; i < n; i++) {
        uint32_t turned = (uint32_t)exponents[i] << 24 | (uint32_t)high[i] << 16 | (uint32_t)middle[i] << 8 | low[i];
        x[i] = float_of(turned >> 1 | turned << 31);
    }
}

SPLITD_INLINE size_t max_exponents(size_t n) { return MODE_BYTES + 4 * n + STORE_SLACK; }

/* Mode, the raw planes, then the exponents; bytes written. Needs max_exponents() at `out`. */
SPLITD_FN size_t encode_exponents(const float *x, size_t n, uint8_t *out) {
    uint8_t *planes = out + MODE_BYTES, *end = planes + RAW_PLANES * n;
    split_floats(x, n, SCRATCH.values, planes, planes + n, planes + 2 * n);
    size_t block = write_block(SCRATCH.values, n, MAX_SYMBOLS, 1, n, end);
    out[0] = block ? EXPONENTS_CODED : EXPONENTS_STORED;
    if (!block) memcpy(end, SCRATCH.values, n);
    return (size_t)(end - out) + (block ? block : n);
}

SPLITD_FN int decode_exponents(const uint8_t *in, size_t size, float *x, size_t n) {
    if (size < MODE_BYTES + RAW_PLANES * n) return SPLITD_LENGTH;
    const uint8_t *planes = in + MODE_BYTES, *coded = planes + RAW_PLANES * n, *exponents = coded, *end = in + size;
    if (in[0] == EXPONENTS_CODED) {
        int status = read_block(coded, (size_t)(end - coded), end, MAX_SYMBOLS, 1, SCRATCH.values, n);
        if (status < 0) return status;
        exponents = SCRATCH.values;
    } else if (in[0] != EXPONENTS_STORED) {
        return SPLITD_MODE;
    } else if ((size_t)(end - coded) != n) {
        return SPLITD_LENGTH;
    }
    join_floats(exponents, planes, planes + n, planes + 2 * n, n, x);
    return SPLITD_OK;
}

#endif
