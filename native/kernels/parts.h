/* Values of 8, 6 or 4 bits taken apart: differences to the row above, the high four bits of two values in one byte,
 * the low bits packed behind each other. And together again.
 */
#ifndef SPLITD_PARTS_H
#define SPLITD_PARTS_H

#include "common.h"

SPLITD_INLINE size_t high_bytes(size_t n) { return (n + 1) / 2; }

SPLITD_INLINE size_t low_bytes(size_t n, unsigned bits) { return (n * (bits - 4) + 7) / 8; }

/* Differences around a small bias, which keeps -bias..bias-1 within one high part. */
SPLITD_INLINE uint8_t delta_bias(unsigned bits) { return (uint8_t)((1u << (bits - 4)) >> 1); }

SPLITD_CLONES SPLITD_FN void subtract_above(const uint8_t *restrict q, size_t n, size_t plane, size_t row, unsigned bits,
                                            uint8_t *restrict out) {
    uint8_t mask = (uint8_t)((1u << bits) - 1), bias = delta_bias(bits);
    for (size_t i = 0; i < n; i += plane) {
        memcpy(out + i, q + i, row);
        for (size_t j = i + row; j < i + plane; j++) out[j] = (uint8_t)((q[j] - q[j - row] + bias) & mask);
    }
}

/* In place; a row at a time, so that the inner loop has no dependence and vectorises. */
SPLITD_CLONES SPLITD_FN void add_above(uint8_t *q, size_t n, size_t plane, size_t row, unsigned bits) {
    uint8_t mask = (uint8_t)((1u << bits) - 1), bias = delta_bias(bits);
    for (size_t i = 0; i < n; i += plane)
        for (size_t j = row; j < plane; j += row) {
            size_t width = plane - j < row ? plane - j : row;
            const uint8_t *restrict above = q + i + j - row;
            uint8_t *restrict here = q + i + j;
            for (size_t k = 0; k < width; k++) here[k] = (uint8_t)((here[k] + above[k] - bias) & mask);
        }
}

/* `q` has a zero behind an odd last value, and room for whole low bytes. */
SPLITD_CLONES SPLITD_FN void split_values(const uint8_t *restrict q, size_t n, unsigned bits, uint8_t *restrict highs,
                                          uint8_t *restrict lows) {
    size_t pairs = high_bytes(n), quads = (n + 3) / 4;
    if (bits == 8)
        for (size_t i = 0; i < pairs; i++) {
            unsigned v = load_u16(q + 2 * i);
            highs[i] = (uint8_t)((v >> 4 & 0x0fu) | (v >> 8 & 0xf0u));
            lows[i] = (uint8_t)((v & 0x0fu) | (v >> 4 & 0xf0u));
        }
    else if (bits == 6) {
        for (size_t i = 0; i < pairs; i++) {
            unsigned v = load_u16(q + 2 * i);
            highs[i] = (uint8_t)((v >> 2 & 0x0fu) | (v >> 6 & 0xf0u));
        }
        for (size_t i = 0; i < quads; i++) {
            uint32_t v = load_u32(q + 4 * i);
            lows[i] = (uint8_t)((v & 3u) | (v >> 6 & 0x0cu) | (v >> 12 & 0x30u) | (v >> 18 & 0xc0u));
        }
    } else
        for (size_t i = 0; i < pairs; i++) {
            unsigned v = load_u16(q + 2 * i);
            highs[i] = (uint8_t)((v & 0x0fu) | (v >> 4 & 0xf0u));
        }
}

/* Writes up to 4 bytes past n, as `split_values` reads them. */
SPLITD_CLONES SPLITD_FN void join_values(const uint8_t *restrict highs, const uint8_t *restrict lows, size_t n,
                                         unsigned bits, uint8_t *restrict q) {
    size_t pairs = high_bytes(n), low = low_bytes(n, bits);
    if (bits == 8)
        for (size_t i = 0; i < pairs; i++) {
            unsigned h = highs[i], l = lows[i];
            store_u16(q + 2 * i, (uint16_t)((h & 0x0fu) << 4 | (h & 0xf0u) << 8 | (l & 0x0fu) | (l & 0xf0u) << 4));
        }
    else if (bits == 6) {
        for (size_t i = 0; i < low; i++) {
            uint32_t l = lows[i];
            store_u32(q + 4 * i, (l & 3u) | (l & 0x0cu) << 6 | (l & 0x30u) << 12 | (l & 0xc0u) << 18);
        }
        for (size_t i = 0; i < pairs; i++) {
            unsigned h = highs[i];
            store_u16(q + 2 * i, (uint16_t)(load_u16(q + 2 * i) | (h & 0x0fu) << 2 | (h & 0xf0u) << 6));
        }
    } else
        for (size_t i = 0; i < pairs; i++) {
            unsigned h = highs[i];
            store_u16(q + 2 * i, (uint16_t)((h & 0x0fu) | (h & 0xf0u) << 4));
        }
}

#endif
