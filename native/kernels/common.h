/* What every kernel shares: status codes, codec ids, limits, unaligned little-endian access, runtime dispatch.
 *
 * The kernels are plain C over pointers and lengths, without Python, so that the compiler vectorises them and the
 * fuzzer drives them directly. Their numpy twins make the same bytes; -ffp-contract=off keeps the arithmetic the same.
 */
#ifndef SPLITD_COMMON_H
#define SPLITD_COMMON_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "splitd's tensor codecs are little-endian (x86-64, aarch64)"
#endif

/* Runtime dispatch: one build runs on every x86-64 and still uses AVX2 and BMI2 where the processor has them. It needs
 * ifunc (glibc). On aarch64 the baseline already has NEON. Sanitizers and ifunc resolvers do not get along. */
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__) && !defined(SPLITD_NO_CLONES)
#if __GNUC__ >= 12
#define SPLITD_CLONES __attribute__((target_clones("arch=x86-64-v3", "default")))
#else
#define SPLITD_CLONES __attribute__((target_clones("avx2", "default")))
#endif
#else
#define SPLITD_CLONES
#endif

/* Static functions that a fuzz harness or a test build may leave unused. */
#define SPLITD_FN static __attribute__((unused))
#define SPLITD_INLINE static inline __attribute__((always_inline, unused))

enum splitd_codec_id {
    SPLITD_F32 = 0,
    SPLITD_F16 = 1,
    SPLITD_U8 = 2,
    SPLITD_F32X = 3,
    SPLITD_U8H = 4,
    SPLITD_U6H = 5,
    SPLITD_U4H = 6,
};

/* Negative results of encoders and decoders. The texts are in _codec.pyx. */
enum splitd_status {
    SPLITD_OK = 0,
    SPLITD_UNREPRESENTABLE = -1, /* a value this codec cannot carry: not finite, or out of its range */
    SPLITD_CAPACITY = -2,        /* the output buffer is smaller than splitd_max_encoded() */
    SPLITD_GEOMETRY = -3,        /* elements and plane size contradict each other, or pass a limit */
    SPLITD_LENGTH = -4,          /* the payload's length is not the one its contents call for */
    SPLITD_PARAMETERS = -5,      /* plane parameters or values that no encoder writes */
    SPLITD_CODEC = -6,           /* no such codec */
    SPLITD_MODE = -7,            /* a mode byte or row width that no encoder writes */
    SPLITD_TABLE = -8,           /* code lengths that make no complete prefix code */
    SPLITD_STREAM = -9,          /* a bit stream that does not end where it should */
};

/* A chunk is what one message carries. The limit bounds every scratch buffer, and everything narrower than a size_t: a
 * quarter of it at 11 bits a symbol is 22 528 bytes, which a stream's 16-bit size holds, and a count fits the 17 bits
 * that sort_by_count() gives it. */
#define SPLITD_MAX_CHUNK_ELEMENTS 65536u

SPLITD_INLINE uint32_t load_u32(const void *p) {
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

SPLITD_INLINE void store_u32(void *p, uint32_t v) { memcpy(p, &v, sizeof v); }

SPLITD_INLINE uint16_t load_u16(const void *p) {
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

SPLITD_INLINE void store_u16(void *p, uint16_t v) { memcpy(p, &v, sizeof v); }

SPLITD_INLINE float float_of(uint32_t bits) {
    float v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

SPLITD_INLINE uint32_t bits_of(float v) {
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    return bits;
}

#endif
