/* Canonical Huffman codes of at most 11 bits: lengths from counts, their compact form, and the decoder's table.
 *
 * Why our own and not zstandard's: docs/codecs.md, "The entropy coder", has the numbers.
 */
#ifndef SPLITD_HUFFMAN_H
#define SPLITD_HUFFMAN_H

#include "common.h"

/* The decoder looks up the next 11 bits at once: 2048 entries of two bytes, 4 KB, leave most of a first-level cache to
 * the symbols. Five such codes fit in what one refill guarantees (streams.h), of 12 bits only four. Only symbols that
 * occur less than once in 2048 times would have longer ones. */
#define MAX_CODE_BITS 11u
#define TABLE_SIZE (1u << MAX_CODE_BITS)
/* Stores of four entries reach up to three past the last run. */
#define TABLE_SLACK 3u
/* A code entry keeps its length in the low six bits: five lengths of 11 add up to 55 there without a carry. */
#define CODE_SHIFT 6u
#define MAX_SYMBOLS 256u
/* In the compact form an absent symbol counts as one longer than the longest code: rare and absent are neighbours. */
#define ABSENT (MAX_CODE_BITS + 1u)
/* 2 + 4 bits for each symbol at worst, and room for whole 8-byte stores. */
#define MAX_TABLE_BYTES (MAX_SYMBOLS * 6u / 8u)

/* Symbols that occur, rarest first; symbols of equal count in their own order. `count` is at most 65 536 in sum. */
SPLITD_INLINE unsigned sort_by_count(const uint32_t *counts, unsigned alphabet, uint32_t *sorted) {
    uint32_t buffer[MAX_SYMBOLS];
    unsigned low[257] = {0}, high[258] = {0}, n = 0;
    for (unsigned s = 0; s < alphabet; s++) {
        if (!counts[s]) continue;
        low[(counts[s] & 255u) + 1]++;
        high[(counts[s] >> 8) + 1]++;
        n++;
    }
    for (unsigned i = 1; i < 256; i++) low[i] += low[i - 1];
    for (unsigned i = 1; i < 257; i++) high[i] += high[i - 1];
    for (unsigned s = 0; s < alphabet; s++)
        if (counts[s]) buffer[low[counts[s] & 255u]++] = counts[s] << 8 | s;
    for (unsigned i = 0; i < n; i++) sorted[high[buffer[i] >> 16]++] = buffer[i];
    return n;
}

/* Code depths by the two-queue method over sorted counts (leaves in `sorted`, inner nodes in order of creation). Both
 * queues end in a sentinel, so that the choice between them needs no branch: it would be a coin's throw. */
SPLITD_INLINE void huffman_depths(const uint32_t *sorted, unsigned n, uint8_t *depths) {
    uint32_t leaves[MAX_SYMBOLS + 1], weights[MAX_SYMBOLS];
    uint16_t parents[2 * MAX_SYMBOLS];
    uint8_t inner[MAX_SYMBOLS];
    unsigned leaf = 0, node = 0;
    for (unsigned i = 0; i < n; i++) leaves[i] = sorted[i] >> 8;
    leaves[n] = UINT32_MAX;
    for (unsigned i = 0; i < n; i++) weights[i] = UINT32_MAX;
    for (unsigned made = 0; made < n - 1; made++) {
        uint32_t weight = 0;
        for (int side = 0; side < 2; side++) {
            unsigned take_leaf = leaves[leaf] <= weights[node];
            weight += take_leaf ? leaves[leaf] : weights[node];
            parents[take_leaf ? leaf : n + node] = (uint16_t)made;
            leaf += take_leaf;
            node += !take_leaf;
        }
        weights[made] = weight;
    }
    inner[n - 2] = 0;
    for (unsigned i = n - 2; i-- > 0;) inner[i] = (uint8_t)(inner[parents[n + i]] + 1);
    for (unsigned i = 0; i < n; i++) depths[i] = (uint8_t)(inner[parents[i]] + 1);
}

/* Caps depths at MAX_CODE_BITS and makes the code complete again, at the cost of the rarest symbols. */
SPLITD_INLINE void limit_depths(uint8_t *depths, unsigned n) {
    uint32_t kraft = 0;
    for (unsigned i = 0; i < n; i++) {
        depths[i] = depths[i] > MAX_CODE_BITS ? MAX_CODE_BITS : depths[i];
        kraft += TABLE_SIZE >> depths[i];
    }
    for (unsigned i = 0; kraft > TABLE_SIZE; i++)
        for (; kraft > TABLE_SIZE && depths[i] < MAX_CODE_BITS; depths[i]++) kraft -= TABLE_SIZE >> (depths[i] + 1);
    /* Each pass fills something: the slack is a multiple of what the longest code takes. */
    while (kraft < TABLE_SIZE)
        for (unsigned i = n; i-- > 0;)
            for (; depths[i] > 1 && kraft + (TABLE_SIZE >> depths[i]) <= TABLE_SIZE; depths[i]--)
                kraft += TABLE_SIZE >> depths[i];
}

/* Lengths of a complete prefix code for symbols with counts; 0 where there is none. At least one count is not zero. */
SPLITD_FN void huffman_lengths(const uint32_t *counts, unsigned alphabet, uint8_t *lengths) {
    uint32_t sorted[MAX_SYMBOLS];
    uint8_t depths[MAX_SYMBOLS];
    unsigned n = sort_by_count(counts, alphabet, sorted);
    memset(lengths, 0, MAX_SYMBOLS);
    if (n == 1) {
        /* A code of one symbol would not be complete, so its neighbour gets the other bit. */
        unsigned only = sorted[0] & 255u;
        lengths[only] = lengths[only ^ 1u] = 1;
        return;
    }
    huffman_depths(sorted, n, depths);
    limit_depths(depths, n);
    for (unsigned i = 0; i < n; i++) lengths[sorted[i] & 255u] = depths[i];
}

/* Where each length's codes start among the 2^11 windows, shorter codes first; 0 unless the code is complete.
 *
 * This check is what makes hostile lengths harmless: too many codes would write past the table, too few would leave
 * windows with what the stack held before, and a stream could read it. */
SPLITD_INLINE int first_windows(const uint8_t *lengths, unsigned alphabet, uint32_t *first) {
    uint32_t used[16] = {0}, windows = 0;
    for (unsigned s = 0; s < alphabet; s++) used[lengths[s]]++;
    for (unsigned length = 1; length <= MAX_CODE_BITS; length++) {
        first[length] = windows;
        windows += used[length] << (MAX_CODE_BITS - length);
    }
    return windows == TABLE_SIZE;
}

/* Canonical codes, first bit highest: code << CODE_SHIFT | length for each symbol. 0 unless they are
 * complete. */
SPLITD_FN int huffman_codes(const uint8_t *lengths, unsigned alphabet, uint32_t *codes) {
    uint32_t next[16] = {0};
    if (!first_windows(lengths, alphabet, next)) return 0;
    for (unsigned s = 0; s < alphabet; s++) {
        unsigned length = lengths[s], unused = (MAX_CODE_BITS - length) & 15u;
        codes[s] = next[length] >> unused << CODE_SHIFT | length;
        next[length] += 1u << unused;
    }
    return 1;
}

/* The decoder's table: for every next 11 bits the symbol << 8 | length. 0 unless the lengths make a complete code.
 * Symbols of one length are neighbours, so each fills a run; stores of four entries may reach past it, and past the
 * table's end, but never past the run that the next store fills. */
SPLITD_FN int huffman_table(const uint8_t *lengths, unsigned alphabet, uint16_t *table) {
    uint32_t next[16] = {0};
    uint8_t order[MAX_SYMBOLS];
    unsigned starts[16] = {0}, n = 0;
    if (!first_windows(lengths, alphabet, next)) return 0;
    for (unsigned s = 0; s < alphabet; s++) starts[lengths[s]]++;
    for (unsigned length = 1; length <= MAX_CODE_BITS; length++) {
        unsigned count = starts[length];
        starts[length] = n;
        n += count;
    }
    for (unsigned s = 0; s < alphabet; s++)
        if (lengths[s]) order[starts[lengths[s]]++] = (uint8_t)s;
    for (unsigned i = 0, window = 0; i < n; i++) {
        unsigned length = lengths[order[i]], end = window + (TABLE_SIZE >> length);
        uint64_t four = (order[i] << 8 | length) * 0x0001000100010001ull;
        for (unsigned w = window; w < end; w += 4) memcpy(table + w, &four, sizeof four);
        window = end;
    }
    return 1;
}

/* What the length of symbol s is near: the mean of its neighbours, one back and `stride` back. */
SPLITD_INLINE unsigned predicted_length(const uint8_t *known, unsigned s, unsigned stride) {
    unsigned left = s ? known[s - 1] : ABSENT, above = s >= stride ? known[s - stride] : left;
    return (left + above) / 2;
}

/* Lengths as differences from the prediction: 0 is 1 bit, +-1 is 3 bits, else 2 bits and the length in 4. */
SPLITD_FN size_t write_lengths(const uint8_t *lengths, unsigned alphabet, unsigned stride, uint8_t *out) {
    uint8_t known[MAX_SYMBOLS];
    uint64_t bits = 0;
    unsigned held = 0;
    size_t written = 0;
    for (unsigned s = 0; s < alphabet; s++) {
        unsigned length = lengths[s] ? lengths[s] : ABSENT, near = predicted_length(known, s, stride);
        known[s] = (uint8_t)length;
        unsigned code = length == near ? 0 : length + 1 == near ? 1 : length == near + 1 ? 5 : 3 | length << 2;
        unsigned size = length == near ? 1 : (code & 3) == 1 ? 3 : 6;
        bits |= (uint64_t)code << held;
        for (held += size; held >= 8; held -= 8, bits >>= 8) out[written++] = (uint8_t)bits;
    }
    if (held) out[written++] = (uint8_t)bits;
    return written;
}

/* The way back; bytes read, or 0 if they end too early. Lengths may be nonsense: `huffman_table` refuses those. */
SPLITD_FN size_t read_lengths(const uint8_t *in, size_t size, unsigned alphabet, unsigned stride, uint8_t *lengths) {
    uint8_t known[MAX_SYMBOLS];
    uint64_t bits = 0;
    unsigned held = 0;
    size_t taken = 0;
    for (unsigned s = 0; s < alphabet; s++) {
        for (; held < 8 && taken < size; held += 8) bits |= (uint64_t)in[taken++] << held;
        unsigned near = predicted_length(known, s, stride);
        unsigned step = (bits & 1) == 0 ? 1 : (bits & 2) == 0 ? 3 : 6;
        unsigned length = step == 1 ? near : step == 6 ? bits >> 2 & 15u : bits & 4 ? near + 1 : near - 1;
        if (step > held || length == 0 || length > ABSENT) return 0;
        known[s] = (uint8_t)length;
        lengths[s] = length == ABSENT ? 0 : (uint8_t)length;
        bits >>= step;
        held -= step;
    }
    return taken - held / 8;
}

#endif
