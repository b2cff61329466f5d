/* A block of symbols: code lengths, stream sizes, streams. And the cheap estimate of what a block would take. */
#ifndef SPLITD_SYMBOLS_H
#define SPLITD_SYMBOLS_H

#include "common.h"
#include "huffman.h"
#include "streams.h"

/* log2(1 + f/256) in 1/256 bit. Integers, so that the twin decides alike. */
static const uint8_t LOG_FRACTIONS[256] = {
    0, 1, 3, 4, 6, 7, 9, 10, 11, 13, 14, 16, 17, 18, 20, 21, 22, 24, 25, 26, 28, 29,
    30, 32, 33, 34, 36, 37, 38, 40, 41, 42, 44, 45, 46, 47, 49, 50, 51, 52, 54, 55, 56, 57,
    59, 60, 61, 62, 63, 65, 66, 67, 68, 69, 71, 72, 73, 74, 75, 77, 78, 79, 80, 81, 82, 84,
    85, 86, 87, 88, 89, 90, 92, 93, 94, 95, 96, 97, 98, 99, 100, 102, 103, 104, 105, 106, 107, 108,
    109, 110, 111, 112, 113, 114, 116, 117, 118, 119, 120, 121, 122, 123, 124, 125, 126, 127, 128, 129, 130, 131,
    132, 133, 134, 135, 136, 137, 138, 139, 140, 141, 142, 143, 144, 145, 146, 147, 148, 149, 150, 151, 152, 153,
    154, 155, 155, 156, 157, 158, 159, 160, 161, 162, 163, 164, 165, 166, 167, 168, 169, 169, 170, 171, 172, 173,
    174, 175, 176, 177, 178, 178, 179, 180, 181, 182, 183, 184, 185, 185, 186, 187, 188, 189, 190, 191, 192, 192,
    193, 194, 195, 196, 197, 198, 198, 199, 200, 201, 202, 203, 203, 204, 205, 206, 207, 208, 208, 209, 210, 211,
    212, 212, 213, 214, 215, 216, 216, 217, 218, 219, 220, 220, 221, 222, 223, 224, 224, 225, 226, 227, 228, 228,
    229, 230, 231, 231, 232, 233, 234, 234, 235, 236, 237, 238, 238, 239, 240, 241, 241, 242, 243, 244, 244, 245,
    246, 247, 247, 248, 249, 249, 250, 251, 252, 252, 253, 254, 255, 255,
};

/* 256 * log2(v), for v > 0. */
SPLITD_INLINE uint32_t log2_scaled(uint32_t v) {
    unsigned whole = 31u - (unsigned)__builtin_clz(v);
    return whole << 8 | LOG_FRACTIONS[(uint32_t)(((uint64_t)v << 8) >> whole) & 255u];
}

#define MAX_SAMPLE 1024u

/* c * 256 log2(c) of every count a sample may have, made once a thread: a look-up for each symbol, and no branch. */
static _Thread_local uint32_t WEIGHTED_LOGS[MAX_SAMPLE + 1];

SPLITD_INLINE void prepare_logs(void) {
    if (WEIGHTED_LOGS[2]) return;
    for (uint32_t c = 2; c <= MAX_SAMPLE; c++) WEIGHTED_LOGS[c] = c * log2_scaled(c);
}

/* Zero-order entropy of n <= MAX_SAMPLE symbols in 1/256 bit, at least a bit a symbol: no prefix code does better. */
SPLITD_INLINE uint32_t entropy_scaled(const uint32_t *counts, unsigned alphabet, uint32_t n) {
    uint32_t weighted = 0;
    for (unsigned s = 0; s < alphabet; s++) weighted += WEIGHTED_LOGS[counts[s]];
    uint32_t bits = WEIGHTED_LOGS[n] - weighted;
    return bits < n << 8 ? n << 8 : bits;
}

/* Four histograms: neighbours are often equal, and a counter just stored is slow to load again. */
SPLITD_INLINE void count_symbols(const uint8_t *symbols, size_t n, uint32_t *counts) {
    uint32_t parts[4][MAX_SYMBOLS];
    memset(parts, 0, sizeof parts);
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        uint64_t eight;
        memcpy(&eight, symbols + i, sizeof eight);
        for (unsigned j = 0; j < 8; j++) parts[j & 3][eight >> (8 * j) & 255u]++;
    }
    for (; i < n; i++) parts[0][symbols[i]]++;
    for (unsigned s = 0; s < MAX_SYMBOLS; s++) counts[s] = parts[0][s] + parts[1][s] + parts[2][s] + parts[3][s];
}

/* Bytes written; 0 if the block would not be smaller than `limit`. Needs limit + STORE_SLACK bytes at `out`. */
SPLITD_FN size_t write_block(const uint8_t *symbols, size_t n, unsigned alphabet, unsigned stride, size_t limit,
                             uint8_t *out) {
    uint32_t counts[MAX_SYMBOLS];
    uint8_t lengths[MAX_SYMBOLS], table[MAX_TABLE_BYTES + 1];
    uint32_t codes[MAX_SYMBOLS];
    if (n == 0) return 0;
    count_symbols(symbols, n, counts);
    huffman_lengths(counts, alphabet, lengths);
    uint64_t bits = 0;
    for (unsigned s = 0; s < alphabet; s++) bits += (uint64_t)counts[s] * lengths[s];
    size_t head = write_lengths(lengths, alphabet, stride, table);
    if (head + SIZES_BYTES + bits / 8 + STREAMS >= limit) return 0;
    huffman_codes(lengths, alphabet, codes);
    memcpy(out, table, head);
    return head + write_streams(symbols, n, codes, out + head);
}

/* Reads n symbols from the block that fills in..in+size; loads stay below `limit`. */
SPLITD_FN int read_block(const uint8_t *in, size_t size, const uint8_t *limit, unsigned alphabet, unsigned stride,
                         uint8_t *symbols, size_t n) {
    uint8_t lengths[MAX_SYMBOLS];
    uint16_t table[TABLE_SIZE + TABLE_SLACK];
    size_t head = read_lengths(in, size, alphabet, stride, lengths);
    if (!head || !huffman_table(lengths, alphabet, table)) return SPLITD_TABLE;
    return read_streams(in + head, size - head, limit, table, symbols, n);
}

#endif
