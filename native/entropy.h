/* Entropy coding of quantised values (u8h, u6h, u4h): mode, split into high and low parts, vertical prediction.
 *
 * Of values of b bits the high four of two neighbours share a byte, which is Huffman-coded; the low b - 4 bits of dense
 * activations carry no redundancy and stay raw, so half the symbols go through the coder and what neighbours have in
 * common is still used. Sparse tensors are better off with whole values as symbols. A sample decides.
 */
#ifndef SPLITD_ENTROPY_H
#define SPLITD_ENTROPY_H

#include "common.h"
#include "symbols.h"

enum value_mode {
    MODE_STORED = 0, /* high bytes, low bits */
    MODE_PAIRS = 1,  /* block of high bytes, low bits */
    MODE_VALUES = 2, /* block of values */
    MODE_DELTA = 4,  /* with PAIRS or VALUES: values are differences to the row above, row width in front */
};
#define MODE_BYTES 1u
#define ROW_BYTES 2u

#define PAIR_STRIDE 16u
#define SAMPLE_RUNS 4u
#define SAMPLE_RUN (MAX_SAMPLE / SAMPLE_RUNS)
/* Whole values take twice the time of pairs, so they must save more than 1/64. */
#define VALUES_HANDICAP 65u

typedef struct {
    uint8_t values[SPLITD_MAX_CHUNK_ELEMENTS + 8];
    uint8_t deltas[SPLITD_MAX_CHUNK_ELEMENTS + 8];
    uint8_t highs[SPLITD_MAX_CHUNK_ELEMENTS / 2 + 8];
} entropy_scratch;

/* One a thread, not on the stack (threads with small ones exist) and not from malloc, which would map it anew for each
 * chunk: 50 page faults are as long as encoding one. */
static _Thread_local entropy_scratch SCRATCH;

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

SPLITD_INLINE size_t max_coded(size_t n, unsigned bits) {
    return MODE_BYTES + high_bytes(n) + low_bytes(n, bits) + STORE_SLACK;
}

/* Codes values of `bits` bits in SCRATCH.values; bytes written. Needs max_coded() at `out`. */
SPLITD_FN size_t encode_values(size_t n, size_t plane, size_t row, unsigned bits, uint8_t *out) {
    uint8_t *values = SCRATCH.values;
    size_t stored = high_bytes(n) + low_bytes(n, bits), head = MODE_BYTES;
    int mode = choose_mode(values, n, plane, row, bits);
    if (mode & MODE_DELTA) {
        subtract_above(values, n, plane, row, bits, SCRATCH.deltas);
        values = SCRATCH.deltas;
        store_u16(out + MODE_BYTES, (uint16_t)row);
        head += ROW_BYTES;
    }
    out[0] = (uint8_t)mode;
    memset(values + n, 0, 4);
    if (mode & MODE_VALUES) {
        size_t block = write_block(values, n, 1u << bits, 1, stored - ROW_BYTES, out + head);
        if (block) return head + block;
    } else if (mode & MODE_PAIRS) {
        uint8_t lows[SPLITD_MAX_CHUNK_ELEMENTS / 2 + 8];
        split_values(values, n, bits, SCRATCH.highs, lows);
        size_t limit = high_bytes(n) > ROW_BYTES ? high_bytes(n) - ROW_BYTES : 0;
        size_t block = write_block(SCRATCH.highs, high_bytes(n), MAX_SYMBOLS, PAIR_STRIDE, limit, out + head);
        if (block) {
            memcpy(out + head + block, lows, low_bytes(n, bits));
            return head + block + low_bytes(n, bits);
        }
    }
    out[0] = MODE_STORED;
    memset(SCRATCH.values + n, 0, 4);
    split_values(SCRATCH.values, n, bits, out + MODE_BYTES, out + MODE_BYTES + high_bytes(n));
    return MODE_BYTES + stored;
}

/* Decodes n values into SCRATCH.values from exactly size bytes. */
SPLITD_FN int decode_values(const uint8_t *in, size_t size, size_t n, size_t plane, unsigned bits) {
    const uint8_t *end = in + size;
    size_t low = low_bytes(n, bits), row = 0;
    if (size < MODE_BYTES) return SPLITD_LENGTH;
    int mode = *in++;
    if (mode == MODE_STORED) {
        if ((size_t)(end - in) != high_bytes(n) + low) return SPLITD_LENGTH;
        join_values(in, in + high_bytes(n), n, bits, SCRATCH.values);
        return SPLITD_OK;
    }
    if (mode & MODE_DELTA) {
        if (end - in < (ptrdiff_t)ROW_BYTES) return SPLITD_LENGTH;
        row = load_u16(in);
        in += ROW_BYTES;
        if (row == 0 || row >= plane) return SPLITD_MODE;
    }
    int kind = mode & ~MODE_DELTA, status;
    if (kind == MODE_VALUES) {
        status = read_block(in, (size_t)(end - in), end, 1u << bits, 1, SCRATCH.values, n);
    } else if (kind == MODE_PAIRS) {
        if ((size_t)(end - in) < low) return SPLITD_LENGTH;
        status = read_block(in, (size_t)(end - in) - low, end, MAX_SYMBOLS, PAIR_STRIDE, SCRATCH.highs, high_bytes(n));
        if (status == SPLITD_OK) join_values(SCRATCH.highs, end - low, n, bits, SCRATCH.values);
    } else {
        return SPLITD_MODE;
    }
    if (status == SPLITD_OK && row) add_above(SCRATCH.values, n, plane, row, bits);
    return status;
}

#endif
