/* Entropy coding of quantised values (u8h, u6h, u4h): mode, split into high and low parts, vertical prediction.
 *
 * Of values of b bits the high four of two neighbours share a byte, which is Huffman-coded; the low b - 4 bits of dense
 * activations carry no redundancy and stay raw, so half the symbols go through the coder and what neighbours have in
 * common is still used. Sparse tensors are better off with whole values as symbols. A sample decides.
 */
#ifndef SPLITD_ENTROPY_H
#define SPLITD_ENTROPY_H

#include "common.h"
#include "parts.h"
#include "sample.h"
#include "symbols.h"

#define MODE_BYTES 1u
#define ROW_BYTES 2u
/* Pairs are a table of 16 x 16: symbol s - 16 has the same first value and the next smaller second one, so its code is
 * about as long. */
#define PAIR_STRIDE 16u

/* 192 KB. The 8 bytes behind each: packing reads whole words and joining writes them, up to 4 bytes past the last value. */
typedef struct {
    uint8_t values[SPLITD_MAX_CHUNK_ELEMENTS + 8];
    uint8_t deltas[SPLITD_MAX_CHUNK_ELEMENTS + 8];
    uint8_t highs[SPLITD_MAX_CHUNK_ELEMENTS / 2 + 8];
    uint8_t lows[SPLITD_MAX_CHUNK_ELEMENTS / 2 + 8];
} entropy_scratch;

/* One a thread, not on the stack (threads with small ones exist) and not from malloc, which would map it anew for each
 * chunk: 50 page faults are as long as encoding one. */
static _Thread_local entropy_scratch SCRATCH;

SPLITD_INLINE size_t stored_bytes(size_t n, unsigned bits) { return high_bytes(n) + low_bytes(n, bits); }

SPLITD_INLINE size_t max_coded(size_t n, unsigned bits) { return MODE_BYTES + stored_bytes(n, bits) + STORE_SLACK; }

/* Values as symbols; 0 unless the block is smaller than `limit`. */
SPLITD_INLINE size_t write_values(const uint8_t *values, size_t n, unsigned bits, size_t limit, uint8_t *out) {
    return write_block(values, n, 1u << bits, 1, limit, out);
}

/* High parts as symbols and low bits behind them; 0 unless smaller than `limit`. */
SPLITD_INLINE size_t write_pairs(const uint8_t *values, size_t n, unsigned bits, size_t limit, uint8_t *out) {
    size_t low = low_bytes(n, bits);
    split_values(values, n, bits, SCRATCH.highs, SCRATCH.lows);
    limit = limit > low ? limit - low : 0;
    size_t block = write_block(SCRATCH.highs, high_bytes(n), MAX_SYMBOLS, PAIR_STRIDE, limit, out);
    if (!block) return 0;
    memcpy(out + block, SCRATCH.lows, low);
    return block + low;
}

SPLITD_INLINE size_t write_stored(size_t n, unsigned bits, uint8_t *out) {
    out[0] = MODE_STORED;
    split_values(SCRATCH.values, n, bits, out + MODE_BYTES, out + MODE_BYTES + high_bytes(n));
    return MODE_BYTES + stored_bytes(n, bits);
}

/* Codes values of `bits` bits in SCRATCH.values; bytes written. Needs max_coded() at `out`. */
SPLITD_FN size_t encode_values(size_t n, size_t plane, size_t row, unsigned bits, uint8_t *out) {
    uint8_t *values = SCRATCH.values;
    size_t head = MODE_BYTES, stored = stored_bytes(n, bits);
    int mode = choose_mode(values, n, plane, row, bits);
    memset(SCRATCH.values + n, 0, 4);
    if (mode & MODE_DELTA) {
        subtract_above(values, n, plane, row, bits, SCRATCH.deltas);
        values = SCRATCH.deltas;
        memset(SCRATCH.deltas + n, 0, 4);
        store_u16(out + MODE_BYTES, (uint16_t)row);
        head += ROW_BYTES;
    }
    out[0] = (uint8_t)mode;
    /* A block must save more than the row's width takes, or a chunk could come out longer than max_coded(). */
    size_t limit = stored > ROW_BYTES ? stored - ROW_BYTES : 0, size = 0;
    if (mode & MODE_VALUES) size = write_values(values, n, bits, limit, out + head);
    if (mode & MODE_PAIRS) size = write_pairs(values, n, bits, limit, out + head);
    return size ? head + size : write_stored(n, bits, out);
}

SPLITD_INLINE int read_stored(const uint8_t *in, size_t size, size_t n, unsigned bits) {
    if (size != stored_bytes(n, bits)) return SPLITD_LENGTH;
    join_values(in, in + high_bytes(n), n, bits, SCRATCH.values);
    return SPLITD_OK;
}

SPLITD_INLINE int read_pairs(const uint8_t *in, size_t size, size_t n, unsigned bits) {
    size_t low = low_bytes(n, bits);
    if (size < low) return SPLITD_LENGTH;
    int status = read_block(in, size - low, in + size, MAX_SYMBOLS, PAIR_STRIDE, SCRATCH.highs, high_bytes(n));
    if (status == SPLITD_OK) join_values(SCRATCH.highs, in + size - low, n, bits, SCRATCH.values);
    return status;
}

SPLITD_INLINE int read_kind(int kind, const uint8_t *in, size_t size, size_t n, unsigned bits) {
    switch (kind) {
    case MODE_VALUES:
        return read_block(in, size, in + size, 1u << bits, 1, SCRATCH.values, n);
    case MODE_PAIRS:
        return read_pairs(in, size, n, bits);
    default:
        return SPLITD_MODE;
    }
}

/* Decodes n values into SCRATCH.values from exactly size bytes. */
SPLITD_FN int decode_values(const uint8_t *in, size_t size, size_t n, size_t plane, unsigned bits) {
    if (size < MODE_BYTES) return SPLITD_LENGTH;
    int mode = in[0];
    if (mode == MODE_STORED) return read_stored(in + MODE_BYTES, size - MODE_BYTES, n, bits);
    if (!(mode & MODE_DELTA)) return read_kind(mode, in + MODE_BYTES, size - MODE_BYTES, n, bits);
    size_t head = MODE_BYTES + ROW_BYTES;
    if (size < head) return SPLITD_LENGTH;
    size_t row = load_u16(in + MODE_BYTES);
    /* A row of 0 would never end add_above()'s loop, one of a whole plane would have nothing above it. */
    if (row == 0 || row >= plane) return SPLITD_MODE;
    int status = read_kind(mode & ~MODE_DELTA, in + head, size - head, n, bits);
    if (status == SPLITD_OK) add_above(SCRATCH.values, n, plane, row, bits);
    return status;
}

#endif
