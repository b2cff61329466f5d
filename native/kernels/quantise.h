/* Affine quantisation, one step and one zero point per plane: value = (q + zero) * step.
 *
 * Four bytes of parameters a plane, one 32-bit word:
 *   bit 0 clear: bits 1..15 are the step as a bfloat16 without its sign, bits 16..31 the zero point as int16;
 *   bit 0 set:   the plane is constant, and the word with bit 0 cleared is its float32.
 * The zero point is a whole number of steps, so 0.0 comes back as exactly 0.0 (a ReLU's zeros stay zeros) and a plane far
 * from zero keeps its precision; a 16-bit float offset would lose it. A bfloat16 step never over- or underflows, and
 * rounding it up costs at most 0.8 % of the step. Values come back within half a step.
 */
#ifndef SPLITD_QUANTISE_H
#define SPLITD_QUANTISE_H

#include "common.h"

#define PARAMETER_BYTES 4u
#define MAX_ZERO_POINT 32767.0
/* 2^127. A larger value could come back, rounded up, as infinity. */
#define LIMIT_BITS 0x7f000000u
/* 1 / step must stay finite. */
#define MIN_STEP 1.1754943508222875e-38

/* Planes are handled in groups of about L1's size: all ranges, then all parameters (vectorised over the planes, which is
 * what makes 7x7 planes fast), then all values, while the group is in cache. */
#define GROUP_ELEMENTS 4096u /* 16 KB of float32, half of a small L1 */
#define GROUP_PLANES 64u     /* of 7x7, the smallest planes of common networks; more would only enlarge the stack */
#define TILE 32u             /* one AVX2 register of bytes out, four of floats in */

typedef struct {
    float low[GROUP_PLANES], high[GROUP_PLANES];
    float inverse[GROUP_PLANES], offset[GROUP_PLANES]; /* q = (int)(x * inverse + offset) */
    uint32_t words[GROUP_PLANES];
} plane_group;

/* Smallest and largest value of a plane; 0 if one of them is not finite or too large to quantise.
 *
 * Over the bits as integers three comparisons find both, NaN and infinity: the largest signed integer is the largest
 * float that is not negative, the largest unsigned one the most negative float, and the smallest unsigned one is the
 * value nearest to zero, which is the other end where all values have one sign. */
SPLITD_INLINE int plane_range(const float *x, size_t n, float *low, float *high) {
    int32_t most = INT32_MIN;
    uint32_t farthest = 0, nearest = UINT32_MAX;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits = bits_of(x[i]);
        most = (int32_t)bits > most ? (int32_t)bits : most;
        farthest = bits > farthest ? bits : farthest;
        nearest = bits < nearest ? bits : nearest;
    }
    *low = float_of(farthest & 0x80000000u ? farthest : nearest);
    *high = float_of(most < 0 ? nearest : (uint32_t)most);
    return most < (int32_t)LIMIT_BITS && farthest < (0x80000000u | LIMIT_BITS);
}

SPLITD_INLINE float round_step_up(double step) {
    float nearest = (float)step;
    uint32_t bits = bits_of(nearest) + ((double)nearest < step);
    return float_of((bits + 0xffffu) & 0xffff0000u);
}

/* Truncation is floor only for positive numbers; a zero point is above -32768. */
SPLITD_INLINE int32_t zero_point(float low, float step) {
    return (int32_t)((double)low / (double)step + 32768.5) - 32768;
}

/* The parameters of one plane. Branchless, so that the loop over a group vectorises. */
SPLITD_INLINE void make_quantiser(plane_group *g, size_t i, double top, double top_inverse) {
    double low = (double)g->low[i], range = (double)g->high[i] - low;
    double exact = range * top_inverse, least = (low < 0 ? -low : low) * (1.0 / MAX_ZERO_POINT);
    exact = exact < least ? least : exact;
    float step = round_step_up(exact < MIN_STEP ? MIN_STEP : exact);
    int32_t zero = zero_point(g->low[i], step);
    /* Where the rounding of both ends would need one value more than there is, the next wider step never does. */
    float last = g->high[i] * (1.0f / step) + (0.5f - (float)zero);
    step = (double)last >= top + 1.0 ? float_of(bits_of(step) + 0x10000u) : step;
    zero = zero_point(g->low[i], step);
    int constant = range == 0.0;
    g->inverse[i] = constant ? 0.0f : 1.0f / step;
    g->offset[i] = constant ? 0.0f : 0.5f - (float)zero;
    g->words[i] = constant ? bits_of(g->low[i] + 0.0f) | 1u : (uint32_t)zero << 16 | bits_of(step) >> 15;
}

SPLITD_INLINE void quantise_run(const float *restrict x, size_t n, float inverse, float offset, uint8_t *restrict out) {
    for (size_t i = 0; i < n; i++) out[i] = (uint8_t)(int32_t)(x[i] * inverse + offset);
}

/* Fixed-size tiles, the last one overlapping: no scalar tail, of which 49 or 196 elements would have much. */
SPLITD_INLINE void quantise_plane(const float *restrict x, size_t n, float inverse, float offset, uint8_t *restrict out) {
    if (n < TILE) {
        quantise_run(x, n, inverse, offset, out);
        return;
    }
    for (size_t i = 0; i + TILE <= n; i += TILE) quantise_run(x + i, TILE, inverse, offset, out + i);
    quantise_run(x + n - TILE, TILE, inverse, offset, out + n - TILE);
}

SPLITD_INLINE size_t group_planes(size_t n, size_t plane) {
    size_t fit = GROUP_ELEMENTS / plane, left = n / plane;
    fit = fit < 1 ? 1 : fit > GROUP_PLANES ? GROUP_PLANES : fit;
    return fit < left ? fit : left;
}

SPLITD_INLINE int quantise_group(const float *restrict x, size_t count, size_t plane, uint32_t top,
                                 uint8_t *restrict words, uint8_t *restrict out) {
    plane_group g;
    int finite = 1;
    for (size_t i = 0; i < count; i++) finite &= plane_range(x + i * plane, plane, &g.low[i], &g.high[i]);
    if (!finite) return SPLITD_UNREPRESENTABLE;
    for (size_t i = 0; i < count; i++) make_quantiser(&g, i, (double)top, 1.0 / (double)top);
    for (size_t i = 0; i < count; i++)
        quantise_plane(x + i * plane, plane, g.inverse[i], g.offset[i], out + i * plane);
    memcpy(words, g.words, count * PARAMETER_BYTES);
    return SPLITD_OK;
}

/* Quantises whole planes to 0..top: parameters to `words`, one byte a value to `out`. */
SPLITD_CLONES SPLITD_FN int quantise_planes(const float *restrict x, size_t n, size_t plane, uint32_t top,
                                            uint8_t *restrict words, uint8_t *restrict out) {
    for (size_t i = 0, count; i < n; i += count * plane, words += count * PARAMETER_BYTES) {
        count = group_planes(n - i, plane);
        if (quantise_group(x + i, count, plane, top, words, out + i) < 0) return SPLITD_UNREPRESENTABLE;
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
