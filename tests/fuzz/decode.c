/* libFuzzer: any bytes into any decoder. Buffers have their exact sizes, so that ASan sees the first byte too far. */
#include <stdlib.h>

#include "codec.h"

#define HEADER_BYTES 4u

/* Byte 0: codec; byte 1: planes; bytes 2..3: elements a plane; then the payload. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < HEADER_BYTES) return 0;
    size_t plane = load_u16(data + 2), n = data[1] * plane, length = size - HEADER_BYTES;
    uint8_t *payload = malloc(length ? length : 1);
    /* Past the limit the decoder must refuse before it writes anything. */
    float *out = malloc(n && n <= SPLITD_MAX_CHUNK_ELEMENTS ? n * sizeof(float) : 1);
    if (!payload || !out) abort();
    memcpy(payload, data + HEADER_BYTES, length);
    splitd_decode(data[0] & 15, payload, length, out, n, plane);
    free(out);
    free(payload);
    return 0;
}
