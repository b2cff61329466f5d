/* Picks symbols and predictor for a chunk's values by the entropy of a small sample, not by trying all. */
#ifndef SPLITD_SAMPLE_H
#define SPLITD_SAMPLE_H

#include "common.h"
#include "parts.h"
#include "symbols.h"

enum value_mode {
    MODE_STORED = 0, /* high bytes, low bits */
    MODE_PAIRS = 1,  /* block of high bytes, low bits */
    MODE_VALUES = 2, /* block of values */
    MODE_DELTA = 4,  /* with PAIRS or VALUES: values are differences to the row above, row width in front */
};

/* Runs, not single values: pairs need their neighbours. Four of them, spread over the chunk, see more of its planes than
 * one would; their number is fixed, so the choice costs the same however large the chunk is. */
#define SAMPLE_RUNS 4u
#define SAMPLE_RUN (MAX_SAMPLE / SAMPLE_RUNS)
/* Whole values take twice the time of pairs, so they must save more than 1/64. */
#define VALUES_HANDICAP 65u

/* Estimated size of a sample, in 1/256 bit, for both kinds of symbols: the cheaper one's mode. */
SPLITD_INLINE int cheaper_kind(const uint8_t *sample, size_t n, unsigned bits, uint32_t *cost) {
    uint8_t highs[MAX_SAMPLE / 2];
    uint32_t counts[MAX_SYMBOLS];
    for (size_t i = 0; i < n / 2; i++)
        highs[i] = (uint8_t)(sample[2 * i] >> (bits - 4) | (sample[2 * i + 1] >> (bits - 4)) << 4);
    count_symbols(highs, n / 2, counts);
    uint32_t pairs = entropy_scaled(counts, MAX_SYMBOLS, (uint32_t)n / 2) + ((uint32_t)n * (bits - 4) << 8);
    count_symbols(sample, n, counts);
    uint32_t values = entropy_scaled(counts, 1u << bits, (uint32_t)n) * VALUES_HANDICAP / 64;
    *cost = values < pairs ? values : pairs;
    return values < pairs ? MODE_VALUES : MODE_PAIRS;
}

/* Four runs across the chunk, as they are or as differences to the row above; even starts keep pairs together. */
SPLITD_INLINE size_t take_sample(const uint8_t *q, size_t n, size_t plane, size_t row, unsigned bits, uint8_t *sample) {
    uint8_t mask = (uint8_t)((1u << bits) - 1), bias = delta_bias(bits);
    size_t run = n < SAMPLE_RUN ? n : SAMPLE_RUN, runs = n / run;
    runs = runs > SAMPLE_RUNS ? SAMPLE_RUNS : runs;
    for (size_t k = 0; k < runs; k++) {
        size_t first = runs > 1 ? (n - run) * k / (runs - 1) & ~(size_t)1 : 0;
        uint8_t *out = sample + k * run;
        if (row == 0 || first % plane < row)
            memcpy(out, q + first, run);
        else
            for (size_t i = 0; i < run; i++) out[i] = (uint8_t)((q[first + i] - q[first + i - row] + bias) & mask);
    }
    return run * runs;
}

/* Picks symbols and predictor by the entropy of a sample. */
SPLITD_CLONES SPLITD_FN int choose_mode(const uint8_t *q, size_t n, size_t plane, size_t row, unsigned bits) {
    uint8_t sample[MAX_SAMPLE];
    uint32_t plain, predicted;
    if (n < 2) return MODE_STORED;
    prepare_logs();
    size_t size = take_sample(q, n, plane, 0, bits, sample);
    int mode = cheaper_kind(sample, size, bits, &plain);
    if (row == 0 || row >= plane || row > UINT16_MAX) return mode;
    take_sample(q, n, plane, row, bits, sample);
    int delta_mode = cheaper_kind(sample, size, bits, &predicted) | MODE_DELTA;
    return predicted < plain ? delta_mode : mode;
}

#endif
