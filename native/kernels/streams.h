/* Huffman-coded symbols in four bit streams, so that the decoder has four independent chains of table look-ups.
 *
 * One chain costs about 8 cycles a symbol (mask, load, shift, each waiting for the last); a core overlaps several. Four
 * chains decoded 6.1 GB/s of float32 on an EPYC (Zen 4), eight 5.4, as their state no longer fits the registers. The
 * streams are consecutive quarters of the symbols; bits fill bytes from the highest.
 */
#ifndef SPLITD_STREAMS_H
#define SPLITD_STREAMS_H

#include "common.h"
#include "huffman.h"

#define STREAMS 4u
#define SIZES_BYTES (2u * (STREAMS - 1u)) /* the last stream's size follows from the block's */
/* 5 codes of 11 bits fit in the 56 that a refill guarantees. */
#define CODES_PER_REFILL 5u
/* Whole 8-byte stores reach past a stream's end. */
#define STORE_SLACK 8u

/* Big-endian, so that the first bit of a stream is the highest. */
SPLITD_INLINE uint64_t load_bits(const uint8_t *p) {
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return __builtin_bswap64(v);
}

SPLITD_INLINE void store_bits(uint8_t *p, uint64_t v) {
    v = __builtin_bswap64(v);
    memcpy(p, &v, sizeof v);
}

SPLITD_INLINE size_t stream_start(size_t n, unsigned k) {
    size_t each = (n + STREAMS - 1) / STREAMS, start = each * k;
    return start < n ? start : n;
}

/* Code entries are code << 6 | length: a shift takes its count from the low six bits, and five lengths add up there. */
SPLITD_INLINE uint64_t append_code(uint64_t bits, uint32_t entry) { return bits << (entry & 63u) | entry >> CODE_SHIFT; }

/* Codes join in pairs first: what waits for the last bits is then three shifts for five codes, not five. */
SPLITD_INLINE uint8_t *write_stream(const uint8_t *restrict symbols, size_t n, const uint32_t *restrict codes,
                                    uint8_t *restrict out) {
    uint64_t bits = 0; /* the low `held` bits count, older ones above them are gone */
    unsigned held = 0;
    size_t i = 0;
    for (; i + CODES_PER_REFILL <= n; i += CODES_PER_REFILL) {
        uint32_t a = codes[symbols[i]], b = codes[symbols[i + 1]], c = codes[symbols[i + 2]];
        uint32_t d = codes[symbols[i + 3]], e = codes[symbols[i + 4]];
        bits = bits << ((a + b) & 63u) | append_code(a >> CODE_SHIFT, b);
        bits = bits << ((c + d) & 63u) | append_code(c >> CODE_SHIFT, d);
        bits = append_code(bits, e);
        held += (a + b + c + d + e) & 63u;
        store_bits(out, bits << (64 - held));
        out += held >> 3;
        held &= 7u;
    }
    for (; i < n; i++) {
        bits = append_code(bits, codes[symbols[i]]);
        held += codes[symbols[i]] & 63u;
    }
    store_bits(out, bits << ((64 - held) & 63u));
    return out + ((held + 7) >> 3);
}

/* All streams behind their sizes; bytes written. Stores reach STORE_SLACK further. */
SPLITD_CLONES SPLITD_FN size_t write_streams(const uint8_t *restrict symbols, size_t n, const uint32_t *restrict codes,
                                             uint8_t *restrict out) {
    uint8_t *p = out + SIZES_BYTES;
    for (unsigned k = 0; k < STREAMS; k++) {
        size_t first = stream_start(n, k);
        uint8_t *end = write_stream(symbols + first, stream_start(n, k + 1) - first, codes, p);
        if (k + 1 < STREAMS) store_u16(out + 2 * k, (uint16_t)(end - p));
        p = end;
    }
    return (size_t)(p - out);
}

/* A reader holds the 63 bits at `p`, some already shifted out; the one below them moves up and so counts those. */
typedef struct {
    uint64_t bits;
    const uint8_t *p;
} bit_reader;

#define SENTINEL 1ull

SPLITD_INLINE size_t bits_taken(const bit_reader *r) { return (size_t)__builtin_ctzll(r->bits); }

SPLITD_INLINE void refill(bit_reader *r) {
    size_t taken = bits_taken(r);
    r->p += taken >> 3;
    r->bits = (load_bits(r->p) | SENTINEL) << (taken & 7);
}

/* The rest of one stream, byte by byte, with zeros for what lies past its end; 1 if it ends where it should. */
SPLITD_INLINE int finish_stream(const uint8_t *start, const uint8_t *end, size_t position, const uint16_t *table,
                                uint8_t *out, size_t n) {
    size_t size = (size_t)(end - start);
    for (size_t i = 0; i < n; i++) {
        size_t at = position >> 3;
        uint32_t window = 0;
        for (unsigned j = 0; j < 3; j++) window |= (at + j < size ? (uint32_t)start[at + j] : 0u) << (24 - 8 * j);
        unsigned entry = table[window << (position & 7) >> (32 - MAX_CODE_BITS)];
        position += entry & 15u;
        out[i] = (uint8_t)(entry >> 8);
    }
    return (position + 7) / 8 == size;
}

/* Where the streams begin that fill in..in+size, and where the last one ends. The three sizes are the sender's word, so
 * each is held against what is left before a reader starts there. */
SPLITD_INLINE int find_streams(const uint8_t *in, size_t size, const uint8_t **starts) {
    if (size < SIZES_BYTES) return SPLITD_LENGTH;
    starts[0] = in + SIZES_BYTES;
    starts[STREAMS] = in + size;
    for (unsigned k = 0; k + 1 < STREAMS; k++) {
        size_t bytes = load_u16(in + 2 * k);
        if (bytes > (size_t)(starts[STREAMS] - starts[k])) return SPLITD_LENGTH;
        starts[k + 1] = starts[k] + bytes;
    }
    return SPLITD_OK;
}

SPLITD_INLINE const uint8_t *farthest(const bit_reader *readers) {
    const uint8_t *p = readers[0].p;
#pragma GCC unroll 4
    for (unsigned k = 1; k < STREAMS; k++) p = readers[k].p > p ? readers[k].p : p;
    return p;
}

/* As many symbols of every stream, `each` apart in `out`, as all of them have and as can be loaded below `limit`; how
 * many. Symbol by symbol over the streams, not stream by stream: the next thing to do never waits for the last one. */
SPLITD_INLINE size_t read_together(bit_reader *readers, const uint8_t *limit, const uint16_t *restrict table,
                                   uint8_t *restrict out, size_t each, size_t shared) {
    size_t done = 0;
    /* A refill moves up to 7 bytes on, and loads 8. */
    for (; done + CODES_PER_REFILL <= shared && limit - farthest(readers) >= 16; done += CODES_PER_REFILL) {
#pragma GCC unroll 5
        for (unsigned j = 0; j < CODES_PER_REFILL; j++)
#pragma GCC unroll 4
            for (unsigned k = 0; k < STREAMS; k++) {
                unsigned entry = table[readers[k].bits >> (64 - MAX_CODE_BITS)];
                readers[k].bits <<= entry & 63u;
                out[k * each + done + j] = (uint8_t)(entry >> 8);
            }
#pragma GCC unroll 4
        for (unsigned k = 0; k < STREAMS; k++) refill(&readers[k]);
    }
    return done;
}

/* Reads n symbols of streams that fill in..in+size exactly. Loads stay below `limit`, which is at or past their end. */
SPLITD_CLONES SPLITD_FN int read_streams(const uint8_t *in, size_t size, const uint8_t *limit,
                                         const uint16_t *restrict table, uint8_t *restrict out, size_t n) {
    const uint8_t *starts[STREAMS + 1];
    bit_reader readers[STREAMS];
    if (find_streams(in, size, starts) < 0) return SPLITD_LENGTH;
    int loadable = limit - starts[STREAMS - 1] >= 8;
    for (unsigned k = 0; k < STREAMS; k++)
        readers[k] = (bit_reader){(loadable ? load_bits(starts[k]) : 0) | SENTINEL, starts[k]};
    /* The last stream has the fewest symbols. */
    size_t each = stream_start(n, 1), shared = n - stream_start(n, STREAMS - 1);
    size_t done = loadable ? read_together(readers, limit, table, out, each, shared) : 0;
    for (unsigned k = 0; k < STREAMS; k++) {
        size_t first = stream_start(n, k), count = stream_start(n, k + 1) - first;
        size_t position = (size_t)(readers[k].p - starts[k]) * 8 + bits_taken(&readers[k]);
        if (!finish_stream(starts[k], starts[k + 1], position, table, out + first + done, count - done))
            return SPLITD_STREAM;
    }
    return SPLITD_OK;
}

#endif
