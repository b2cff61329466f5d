/* float32 to IEEE half precision and back, rounding to nearest even, without branches so that it vectorises anywhere.
 *
 * Half conversions in hardware would need F16C on x86-64; integer arithmetic in vector registers is as fast as memory.
 */
#ifndef SPLITD_HALF_H
#define SPLITD_HALF_H

#include "common.h"

#define HALF_OVERFLOW 0x477ff000u      /* 65520.0: rounds to infinity */
#define HALF_MIN_NORMAL 0x38800000u    /* 2^-14 */
#define HALF_SUBNORMAL_MAGIC 0x3f000000u /* 0.5: adding it leaves the subnormal's bits at the bottom of the mantissa */
#define EXPONENT_SHIFT (112u << 23)

SPLITD_INLINE uint16_t half_of(uint32_t bits) {
    uint32_t magnitude = bits & 0x7fffffffu;
    uint32_t small = bits_of(float_of(magnitude) + float_of(HALF_SUBNORMAL_MAGIC)) - HALF_SUBNORMAL_MAGIC;
    uint32_t normal = (magnitude - EXPONENT_SHIFT + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;
    uint32_t half = magnitude < HALF_MIN_NORMAL ? small : normal;
    return (uint16_t)(half | ((bits >> 16) & 0x8000u));
}

SPLITD_CLONES SPLITD_FN int encode_half(const float *restrict x, size_t n, uint8_t *restrict out) {
    uint32_t largest = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits = bits_of(x[i]), magnitude = bits & 0x7fffffffu;
        largest = magnitude > largest ? magnitude : largest;
        store_u16(out + 2 * i, half_of(bits));
    }
    return largest < HALF_OVERFLOW ? SPLITD_OK : SPLITD_UNREPRESENTABLE;
}

SPLITD_INLINE float float_of_half(uint32_t half) {
    uint32_t magnitude = (half & 0x7fffu) << 13;
    uint32_t normal = magnitude + EXPONENT_SHIFT;
    /* A subnormal's mantissa, given the exponent of 2^-14, is too large by exactly 2^-14. */
    uint32_t small = bits_of(float_of(magnitude + HALF_MIN_NORMAL) - float_of(HALF_MIN_NORMAL));
    uint32_t bits = (half & 0x7c00u) ? normal : small;
    return float_of(bits | (half & 0x8000u) << 16);
}

/* Refuses infinities and NaN, which no encoder writes. */
SPLITD_CLONES SPLITD_FN int decode_half(const uint8_t *restrict halves, size_t n, float *restrict out) {
    uint32_t largest = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t half = load_u16(halves + 2 * i), magnitude = half & 0x7fffu;
        largest = magnitude > largest ? magnitude : largest;
        out[i] = float_of_half(half);
    }
    return largest < 0x7c00u ? SPLITD_OK : SPLITD_PARAMETERS;
}

#endif
