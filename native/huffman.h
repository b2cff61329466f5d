/* Canonical Huffman codes of at most 11 bits: lengths from counts, their compact form, and the decoder's table.
 *
 * Why our own and not zstandard's: docs/codecs.md, "The entropy coder", has the numbers.
 */
#ifndef SPLITD_HUFFMAN_H
#define SPLITD_HUFFMAN_H

#include "common.h"

#define MAX_CODE_BITS 11u
#define TABLE_SIZE (1u << MAX_CODE_BITS)
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

/* Code depths by the two-queue method over sorted counts (leaves in `sorted`, inner nodes in order of creation). */
SPLITD_INLINE void huffman_depths(const uint32_t *sorted, unsigned n, uint8_t *depths) {
    uint32_t weights[MAX_SYMBOLS];
    uint16_t parents[2 * MAX_SYMBOLS];
    uint8_t inner[MAX_SYMBOLS];
    unsigned leaf = 0, node = 0;
    for (unsigned made = 0; made < n - 1; made++) {
        uint32_t weight = 0;
        for (int side = 0; side < 2; side++) {
            int take_leaf = leaf < n && (node >= made || sorted[leaf] >> 8 <= weights[node]);
            weight += take_leaf ? sorted[leaf] >> 8 : weights[node];
            parents[take_leaf ? leaf++ : n + node++] = (uint16_t)made;
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

SPLITD_INLINE uint32_t reverse_bits(uint32_t code, unsigned length) {
    code = (code & 0x5555u) << 1 | (code >> 1 & 0x5555u);
    code = (code & 0x3333u) << 2 | (code >> 2 & 0x3333u);
    code = (code & 0x0f0fu) << 4 | (code >> 4 & 0x0f0fu);
    code = (code & 0x00ffu) << 8 | (code >> 8 & 0x00ffu);
    return code >> (16 - length);
}

/* Canonical codes, first bit lowest: code << 4 | length for each symbol, 0 where there is none. 0 unless complete. */
SPLITD_FN int huffman_codes(const uint8_t *lengths, unsigned alphabet, uint16_t *codes) {
    uint32_t used[16] = {0}, next[16] = {0}, kraft = 0;
    for (unsigned s = 0; s < alphabet; s++) used[lengths[s]]++;
    for (unsigned length = 1; length <= MAX_CODE_BITS; length++) {
        next[length] = kraft >> (MAX_CODE_BITS - length);
        kraft += used[length] << (MAX_CODE_BITS - length);
    }
    if (kraft != TABLE_SIZE) return 0;
    for (unsigned s = 0; s < alphabet; s++) {
        unsigned length = lengths[s];
        codes[s] = length ? (uint16_t)(reverse_bits(next[length]++, length) << 4 | length) : 0;
    }
    return 1;
}

/* The decoder's table: for every next 11 bits the symbol << 8 | length. 0 unless the lengths make a complete code. */
SPLITD_FN int huffman_table(const uint8_t *lengths, unsigned alphabet, uint16_t *table) {
    uint16_t codes[MAX_SYMBOLS];
    if (!huffman_codes(lengths, alphabet, codes)) return 0;
    for (unsigned s = 0; s < alphabet; s++) {
        unsigned length = lengths[s];
        if (!length) continue;
        for (uint32_t i = codes[s] >> 4; i < TABLE_SIZE; i += 1u << length) table[i] = (uint16_t)(s << 8 | length);
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
