/* Affine quantisation, one step and one zero point per plane: value = (q + zero) * step.
 *
 * Four bytes of parameters a plane, one 32-bit word:
 *   bit 0 clear: bits 1..15 are the step as a bfloat16 without its sign, bits 16..31 the zero point as int16;
 *   bit 0 set:   the plane is constant, and the word with bit 0 cleared is its float32.
 * The zero point is a whole number of steps, so 0.0 comes back as exactly 0.0 (a ReLU's zeros stay zeros) and a plane far
 * from zero keeps its precision; a 16-bit float offset would lose it. A bfloat16 step never over- or underflows, and
 * rounding it up costs at most 0.8 % of the step. Values come back within half a step, or one step at the top end.
 */
#ifndef SPLITD_QUANTISE_H
#define SPLITD_QUANTISE_H

#include "common.h"

#define PARAMETER_BYTES 4u
#define MAX_ZERO_POINT 32767.0
/* Beyond 2^127 a rounded-up value could come back as infinity. Keys order like the floats they stand for. */
#define KEY_LIMIT 0x7f000000
/* 1 / step must stay finite. */
#define MIN_STEP 1.1754943508222875e-38

typedef struct {
    float step, inverse, offset; /* q = min(top, (int)(x * inverse + offset)) */
    uint32_t word;
} plane_quantiser;

/* Integers in the order of the floats: min, max and the test for NaN and infinity in one vectorised pass. */
SPLITD_INLINE int32_t order_key(float v) {
    int32_t bits = (int32_t)bits_of(v);
    return bits ^ ((bits >> 31) & 0x7fffffff);
}

SPLITD_INLINE float key_value(int32_t key) { return float_of((uint32_t)(key ^ ((key >> 31) & 0x7fffffff))); }

/* Smallest and largest value of a plane; 0 if one of them is not finite or too large to quantise. */
SPLITD_INLINE int plane_range(const float *x, size_t n, float *low, float *high) {
    int32_t least = INT32_MAX, most = INT32_MIN;
    for (size_t i = 0; i < n; i++) {
        int32_t key = order_key(x[i]);
        least = key < least ? key : least;
        most = key > most ? key : most;
    }
    *low = key_value(least);
    *high = key_value(most);
    return most < KEY_LIMIT && least > ~KEY_LIMIT;
}

SPLITD_INLINE float round_step_up(double step) {
    float nearest = (float)step;
    uint32_t bits = bits_of(nearest) + ((double)nearest < step);
    return float_of((bits + 0xffffu) & 0xffff0000u);
}

SPLITD_INLINE plane_quantiser make_quantiser(float low, float high, double steps_inverse) {
    plane_quantiser q;
    double range = (double)high - (double)low;
    if (range == 0.0) {
        q.step = q.inverse = q.offset = 0.0f;
        q.word = bits_of(low + 0.0f) | 1u;
        return q;
    }
    double magnitude = low < 0 ? -(double)low : (double)low;
    double step = range * steps_inverse, least = magnitude * (1.0 / MAX_ZERO_POINT);
    step = step < least ? least : step;
    q.step = round_step_up(step < MIN_STEP ? MIN_STEP : step);
    q.inverse = 1.0f / q.step;
    /* Truncation is floor only for positive numbers. */
    int32_t zero = (int32_t)((double)low / (double)q.step + 32768.5) - 32768;
    q.offset = 0.5f - (float)zero;
    q.word = (uint32_t)zero << 16 | bits_of(q.step) >> 15;
    return q;
}

SPLITD_INLINE void quantise_plane(const float *restrict x, size_t n, const plane_quantiser *p, int32_t top,
                                  uint8_t *restrict out) {
    float inverse = p->inverse, offset = p->offset;
    for (size_t i = 0; i < n; i++) {
        int32_t v = (int32_t)(x[i] * inverse + offset);
        out[i] = (uint8_t)(v > top ? top : v);
    }
}

/* Quantises whole planes to 0..top while each is in cache: parameters to `words`, one byte a value to `out`. */
SPLITD_CLONES SPLITD_FN int quantise_planes(const float *restrict x, size_t n, size_t plane, int32_t top,
                                            uint8_t *restrict words, uint8_t *restrict out) {
    double steps_inverse = 1.0 / (double)top;
    for (size_t i = 0; i < n; i += plane, words += PARAMETER_BYTES) {
        float low, high;
        if (!plane_range(x + i, plane, &low, &high)) return SPLITD_UNREPRESENTABLE;
        plane_quantiser p = make_quantiser(low, high, steps_inverse);
        quantise_plane(x + i, plane, &p, top, out + i);
        store_u32(words, p.word);
    }
    return SPLITD_OK;
}

SPLITD_INLINE void restore_plane(const uint8_t *restrict q, size_t n, float step, int32_t zero, float *restrict out) {
    for (size_t i = 0; i < n; i++) out[i] = (float)((int32_t)q[i] + zero) * step;
}

SPLITD_INLINE void fill_plane(float value, size_t n, float *out) {
    for (size_t i = 0; i < n; i++) out[i] = value;
}

/* The way back. Any bytes are safe; parameters that are not finite are refused. */
SPLITD_CLONES SPLITD_FN int restore_planes(const uint8_t *restrict words, const uint8_t *restrict q, size_t n,
                                           size_t plane, float *restrict out) {
    for (size_t i = 0; i < n; i += plane, words += PARAMETER_BYTES) {
        uint32_t word = load_u32(words);
        int constant = (int)(word & 1u);
        uint32_t bits = constant ? word & ~1u : (word & 0xfffeu) << 15;
        if ((bits & 0x7f800000u) == 0x7f800000u) return SPLITD_PARAMETERS;
        if (constant)
            fill_plane(float_of(bits), plane, out + i);
        else
            restore_plane(q + i, plane, float_of(bits), (int32_t)word >> 16, out + i);
    }
    return SPLITD_OK;
}

#endif
