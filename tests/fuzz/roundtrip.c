/* libFuzzer: any floats into any encoder; what it writes must fit, decode, and come back (f32x: bit for bit). */
#include <stdlib.h>

#include "codec.h"

#define HEADER_BYTES 4u
#define REPEATS 64u

static void check(int holds) {
    if (!holds) abort();
}

/* Twice half a step and the float's own rounding, at the plane's largest magnitude. */
static float tolerance(uint32_t word, float largest) { return float_of((word & 0xfffeu) << 15) * 0.51f + largest * 1e-6f; }

static void check_plane(const uint8_t *word, const float *x, const float *back, size_t n) {
    float largest = 0;
    for (size_t i = 0; i < n; i++) {
        float magnitude = x[i] < 0 ? -x[i] : x[i];
        largest = magnitude > largest ? magnitude : largest;
    }
    float allowed = load_u32(word) & 1u ? largest * 1e-6f : tolerance(load_u32(word), largest);
    for (size_t i = 0; i < n; i++) {
        float error = x[i] - back[i];
        check((error < 0 ? -error : error) <= allowed + 1e-38f);
    }
}

static void round_trip(int codec, const float *x, size_t n, size_t plane, size_t row) {
    size_t capacity = splitd_max_encoded(codec, n, plane);
    uint8_t *out = malloc(capacity ? capacity : 1);
    float *back = malloc(n ? n * sizeof(float) : 1);
    if (!out || !back) abort();
    int64_t written = splitd_encode(codec, x, n, plane, row, out, capacity);
    if (written >= 0) {
        uint8_t *payload = malloc(written ? (size_t)written : 1);
        if (!payload) abort();
        memcpy(payload, out, (size_t)written);
        check(splitd_decode(codec, payload, (size_t)written, back, n, plane) == SPLITD_OK);
        if (codec == SPLITD_F32X) check(memcmp(x, back, n * sizeof(float)) == 0);
        if (codec == SPLITD_U8 || coded_bits(codec))
            for (size_t i = 0; i < n; i += plane) check_plane(payload + i / plane * 4, x + i, back + i, plane);
        free(payload);
    } else {
        check(written == SPLITD_UNREPRESENTABLE || written == SPLITD_CODEC);
    }
    free(back);
    free(out);
}

/* Byte 0: codec; byte 1: repeats of the values; byte 2: planes; byte 3: row width; then floats. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < HEADER_BYTES) return 0;
    size_t given = (size - HEADER_BYTES) / sizeof(float), repeats = data[1] % REPEATS + 1, planes = data[2] + 1u;
    size_t n = given * repeats / planes * planes;
    if (n == 0 || n > SPLITD_MAX_CHUNK_ELEMENTS) return 0;
    float *x = malloc(n * sizeof(float));
    if (!x) abort();
    for (size_t i = 0; i < n; i++) memcpy(x + i, data + HEADER_BYTES + i % given * sizeof(float), sizeof(float));
    round_trip(data[0] & 7, x, n, n / planes, data[3]);
    free(x);
    return 0;
}
