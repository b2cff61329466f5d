/* Byte shuffle: byte k of every item, then byte k+1 of every item, … so that LZ4 finds the zeros of sparse tensors. */
#ifndef SPLITD_SHUFFLE_H
#define SPLITD_SHUFFLE_H

#include "common.h"

SPLITD_CLONES SPLITD_FN void shuffle_bytes(const uint8_t *restrict in, size_t items, size_t item_bytes,
                                           uint8_t *restrict out) {
    for (size_t k = 0; k < item_bytes; k++)
        for (size_t i = 0; i < items; i++) out[k * items + i] = in[i * item_bytes + k];
}

SPLITD_CLONES SPLITD_FN void unshuffle_bytes(const uint8_t *restrict in, size_t items, size_t item_bytes,
                                             uint8_t *restrict out) {
    for (size_t k = 0; k < item_bytes; k++)
        for (size_t i = 0; i < items; i++) out[i * item_bytes + k] = in[k * items + i];
}

#endif
