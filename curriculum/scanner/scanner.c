/* Lines of JSON -> numbers, offsets and hashes, for whole blocks at a time.
 *
 * A line is either read completely and exactly as the Python readers read it, or declined: its
 * number is returned, and nothing else is known of it. The Python readers then take it or say what
 * is wrong with it. Everything here knows bytes only; what fields mean is decided in Python.
 *
 * Declined are: JSON that is not strictly valid, text after the object, names of fields that are
 * written with escapes or occur twice where fields are looked up, scores that are no number, bool or
 * null, numbers that cannot be rounded exactly here, lone surrogates (a line that has one and is not
 * valid UTF-8 is malformed), invalid UTF-8 in text that is read, depth over DEEPEST, numbers longer
 * than LONGEST_NUMBER, and values of types that are not expected.
 *
 * Conventions: a function that reads takes the place where a value starts and returns the place
 * after it, or NULL to decline the line; given NULL, `skip_value` and `next_...` return NULL. `end` is
 * the end of the buffer: no byte from there on is ever read. No value contains a raw newline, so
 * none goes beyond its line.
 */

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__SSE2__) || defined(_M_X64)
#include <immintrin.h>
#define HAS_SSE2 1
#if defined(__GNUC__)
#define HAS_AVX2 1 /* asked for at run time */
#endif
#elif defined(__aarch64__) && defined(__ARM_NEON)
#include <arm_neon.h>
#define HAS_NEON 1
#endif

typedef uint8_t byte;

/* Python reads no integer of more digits than it is told to, 640 at least. */
enum { DEEPEST = 200, LONGEST_NUMBER = 640 };

/* ---- Memory that grows. Once an allocation failed, nothing more is added, and whoever reads the
 * lines looks at `failed` at the end. ---- */

#ifndef REALLOCATE
#define REALLOCATE realloc
#endif

typedef struct {
    byte *data;
    size_t size, room; /* in bytes */
    bool failed;       /* for want of memory */
} Bytes;

/* Makes room for `more` bytes; afterwards there is a buffer, even for none. */
static bool make_room(Bytes *bytes, size_t more)
{
    if (bytes->data && more <= bytes->room - bytes->size)
        return true;
    size_t room = bytes->room + bytes->room / 2 + more + 64;
    byte *data = bytes->failed ? NULL : REALLOCATE(bytes->data, room);
    if (data == NULL) {
        bytes->failed = true;
        return false;
    }
    bytes->data = data;
    bytes->room = room;
    return true;
}

static inline void append(Bytes *bytes, const void *data, size_t size)
{
    if (size == 0 || !make_room(bytes, size))
        return;
    memcpy(bytes->data + bytes->size, data, size);
    bytes->size += size;
}

/* Whether no allocation failed. A struct of nothing but Bytes is given as an array of them. */
static bool has_memory(const Bytes *every, size_t count)
{
    while (count--)
        if (every[count].failed)
            return false;
    return true;
}

static void append_integer(Bytes *bytes, int64_t value)
{
    append(bytes, &value, sizeof value);
}

/* ---- What matters in 64 bytes of a string, a bit each, the first byte lowest ---- */

typedef struct {
    uint64_t stops;       /* a quote or a control character: the string ends here, or is wrong */
    uint64_t backslashes; /* all of them */
    uint64_t letters;     /* what a backslash may stand before, but for u; 0: not looked for */
} Marks;

static inline int lowest_bit(uint64_t bits)
{
#if defined(__GNUC__)
    return __builtin_ctzll(bits);
#else
    int at = 0;
    while (!(bits >> at & 1))
        at++;
    return at;
#endif
}

#if defined(__GNUC__)
#define INLINE static inline __attribute__((always_inline))
#else
#define INLINE static inline
#endif

/* The bytes of eight that are 0, as bits. */
INLINE uint64_t zeros_in_8(uint64_t eight)
{
    const uint64_t low = 0x7f7f7f7f7f7f7f7f;
    uint64_t zeros = ~(((eight & low) + low) | eight | low); /* the high bit of each */
    return (zeros >> 7) * 0x0102040810204080 >> 56;          /* gathered in one byte */
}

INLINE Marks marks_by_words(const byte *at)
{
    const uint64_t ones = 0x0101010101010101;
    Marks marks = {0, 0, 0};
    for (int word = 0; word < 8; word++) {
        uint64_t eight = 0;
        for (int i = 7; i >= 0; i--)
            eight = eight << 8 | at[8 * word + i];
        marks.stops |= (zeros_in_8(eight ^ ones * '"') | zeros_in_8(eight & ones * 0xe0))
                       << 8 * word;
        marks.backslashes |= zeros_in_8(eight ^ ones * '\\') << 8 * word;
    }
    return marks;
}

#ifdef HAS_SSE2
INLINE uint64_t equal_in_16(__m128i text, char c)
{
    return (uint64_t)_mm_movemask_epi8(_mm_cmpeq_epi8(text, _mm_set1_epi8(c)));
}

INLINE uint64_t controls_in_16(__m128i text)
{
    return (uint64_t)_mm_movemask_epi8(
        _mm_cmpeq_epi8(_mm_min_epu8(text, _mm_set1_epi8(0x1f)), text));
}

INLINE Marks marks_by_sse2(const byte *at)
{
    Marks marks = {0, 0, 0};
    for (int i = 0; i < 4; i++) {
        __m128i text = _mm_loadu_si128((const __m128i *)(at + 16 * i));
        marks.stops |= (equal_in_16(text, '"') | controls_in_16(text)) << 16 * i;
        marks.backslashes |= equal_in_16(text, '\\') << 16 * i;
    }
    return marks;
}
#endif

#ifdef HAS_AVX2
#define AVX2 __attribute__((target("avx2")))

AVX2 INLINE uint64_t equal_in_32(__m256i text, char c)
{
    return (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(text, _mm256_set1_epi8(c)));
}

AVX2 INLINE uint64_t controls_in_32(__m256i text)
{
    return (uint32_t)_mm256_movemask_epi8(
        _mm256_cmpeq_epi8(_mm256_min_epu8(text, _mm256_set1_epi8(0x1f)), text));
}

/* The bytes that a backslash may stand before, but for u: each is the only one with its two
 * halves that is named for both (Langdale and Lemire, 2019). */
AVX2 INLINE uint64_t letters_in_32(__m256i text)
{
    /* 1: "/ of 0x2., 2: \ of 0x5., 4: bfn of 0x6., 8: rt of 0x7. */
    const __m256i high = _mm256_setr_epi8(0, 0, 1, 0, 0, 2, 4, 8, 0, 0, 0, 0, 0, 0, 0, 0,
                                          0, 0, 1, 0, 0, 2, 4, 8, 0, 0, 0, 0, 0, 0, 0, 0);
    const __m256i low = _mm256_setr_epi8(0, 0, 1 | 4 | 8, 0, 8, 0, 4, 0, 0, 0, 0, 0, 2, 0, 4, 1,
                                         0, 0, 1 | 4 | 8, 0, 8, 0, 4, 0, 0, 0, 0, 0, 2, 0, 4, 1);
    __m256i half = _mm256_set1_epi8(0x0f);
    __m256i of_high = _mm256_shuffle_epi8(high, _mm256_and_si256(_mm256_srli_epi16(text, 4), half));
    __m256i of_low = _mm256_shuffle_epi8(low, _mm256_and_si256(text, half));
    __m256i none = _mm256_cmpeq_epi8(_mm256_and_si256(of_high, of_low), _mm256_setzero_si256());
    return (uint32_t)~_mm256_movemask_epi8(none);
}

AVX2 INLINE Marks marks_by_avx2(const byte *at)
{
    Marks marks = {0, 0, 0};
    for (int i = 0; i < 2; i++) {
        __m256i text = _mm256_loadu_si256((const __m256i *)(at + 32 * i));
        marks.stops |= (equal_in_32(text, '"') | controls_in_32(text)) << 32 * i;
        marks.backslashes |= equal_in_32(text, '\\') << 32 * i;
        marks.letters |= letters_in_32(text) << 32 * i;
    }
    return marks;
}
#endif

#ifdef HAS_NEON
/* A bit for each byte of 64 that is not 0. */
INLINE uint64_t bits_of_64(uint8x16_t *parts)
{
    static const byte bit_of[16] = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
    uint8x16_t bits = vld1q_u8(bit_of);
    for (int i = 0; i < 4; i++)
        parts[i] = vandq_u8(parts[i], bits);
    /* Adding neighbours three times puts the eight bits of eight bytes into one. */
    uint8x16_t sum = vpaddq_u8(vpaddq_u8(parts[0], parts[1]), vpaddq_u8(parts[2], parts[3]));
    sum = vpaddq_u8(sum, sum);
    return vgetq_lane_u64(vreinterpretq_u64_u8(sum), 0);
}

INLINE Marks marks_by_neon(const byte *at)
{
    uint8x16_t stops[4], backslashes[4];
    for (int i = 0; i < 4; i++) {
        uint8x16_t text = vld1q_u8(at + 16 * i);
        stops[i] = vorrq_u8(vceqq_u8(text, vdupq_n_u8('"')), vcltq_u8(text, vdupq_n_u8(0x20)));
        backslashes[i] = vceqq_u8(text, vdupq_n_u8('\\'));
    }
    return (Marks){bits_of_64(stops), bits_of_64(backslashes), 0};
}
#endif

/* ---- Values ---- */

/* A string as it stands in the line, without its quotes. */
typedef struct {
    const byte *start; /* NULL: there is none */
    size_t size;
    bool escaped; /* whether it has escapes */
} Text;

static inline bool is_digit(byte c) { return (byte)(c - '0') < 10; }

static inline const byte *skip_space(const byte *at, const byte *end)
{
    while (at < end && (*at == ' ' || *at == '\t' || *at == '\r'))
        at++;
    return at;
}

/* The value of a hexadecimal digit; -1 for any other byte. */
static int hex_digit(byte c)
{
    if (is_digit(c))
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The four digits at a place; -1 if they are not four hexadecimal digits. */
static int32_t hex_digits(const byte *at, const byte *end)
{
    if (end - at < 4)
        return -1;
    int32_t value = 0;
    for (int i = 0; i < 4; i++) {
        int digit = hex_digit(at[i]);
        if (digit < 0)
            return -1;
        value = value << 4 | digit;
    }
    return value;
}

/* The size of the \u escape that starts here, 6 bytes, or 12 of a pair of surrogates; 0 if it is
 * none, or a lone surrogate. */
static int unicode_escape_size(const byte *at, const byte *end)
{
    int32_t first = hex_digits(at + 2, end);
    if (first < 0xd800 || first > 0xdfff)
        return first < 0 ? 0 : 6;
    if (first > 0xdbff || end - at < 12 || at[6] != '\\' || at[7] != 'u')
        return 0;
    int32_t second = hex_digits(at + 8, end);
    return second < 0xdc00 || second > 0xdfff ? 0 : 12;
}

/* The size of the escape that starts here; 0 if it is none. */
static int escape_size(const byte *at, const byte *end)
{
    if (end - at < 2)
        return 0;
    switch (at[1]) {
    case '"': case '\\': case '/': case 'b': case 'f': case 'n': case 'r': case 't':
        return 2;
    case 'u':
        return unicode_escape_size(at, end);
    default:
        return 0;
    }
}

/* Which of 64 bytes are escaped by the backslash before them; the first is not. Every other one of a
 * run of backslashes is escaped: a subtraction, which borrows along the run, tells runs that start
 * at an even place from others (Langdale and Lemire, 2019). */
INLINE uint64_t escaped_by(uint64_t backslashes)
{
    const uint64_t odd = 0xaaaaaaaaaaaaaaaa;
    return (((backslashes << 1 | odd) - backslashes) ^ odd) ^ backslashes;
}

/* Reads 64 bytes escape by escape: where the closing quote is; without one, how many bytes were read,
 * more than 64 if an escape goes on; -1 to decline. */
static int read_escapes(const Marks *marks, const byte *block, const byte *at, const byte *end)
{
    uint64_t left = marks->stops | marks->backslashes;
    int next = 64;
    while (left) {
        int stop = lowest_bit(left);
        if (block[stop] == '"')
            return stop;
        int size = block[stop] == '\\' ? escape_size(at + stop, end) : 0;
        if (size == 0)
            return -1;
        next = stop + size;
        left = next < 64 ? left & ~(uint64_t)0 << next : 0;
    }
    return next < 64 ? 64 : next;
}

/* Reads a string from after its opening quote. What is usual, escapes of one letter, takes no step
 * per escape. */
INLINE const byte *read_blocks(Marks (*marks_in)(const byte *), const byte *at, const byte *end,
                               Text *text)
{
    byte rest[64];
    for (;;) {
        const byte *block = at;
        if (end - at < 64) { /* zeros after the end: control characters, so stops */
            memset(rest, 0, sizeof rest);
            memcpy(rest, at, (size_t)(end - at));
            block = rest;
        }
        Marks marks = marks_in(block);
        uint64_t stops = marks.stops;
        int next = 64;
        if (marks.backslashes) {
            uint64_t escaped = escaped_by(marks.backslashes);
            stops &= ~escaped;
            uint64_t inside = stops ? (stops & -stops) - 1 : ~(uint64_t)0;
            text->escaped |= (marks.backslashes & inside) != 0;
            if (escaped & inside & ~marks.letters) { /* a \\u, or what is no escape */
                next = read_escapes(&marks, block, at, end);
                if (next < 0)
                    return NULL;
                stops = next < 64 ? (uint64_t)1 << next : 0;
            } else {
                next -= (int)((marks.backslashes & ~escaped) >> 63);
            }
        }
        if (stops) {
            int stop = lowest_bit(stops);
            if (block[stop] != '"')
                return NULL;
            text->size = (size_t)(at + stop - text->start);
            return at + stop + 1;
        }
        at += next;
    }
}

static const byte *read_by_words(const byte *at, const byte *end, Text *text)
{
    return read_blocks(marks_by_words, at, end, text);
}

#ifdef HAS_SSE2
static const byte *read_by_sse2(const byte *at, const byte *end, Text *text)
{
    return read_blocks(marks_by_sse2, at, end, text);
}
#endif
#ifdef HAS_AVX2
AVX2 static const byte *read_by_avx2(const byte *at, const byte *end, Text *text)
{
    return read_blocks(marks_by_avx2, at, end, text);
}
#endif
#ifdef HAS_NEON
static const byte *read_by_neon(const byte *at, const byte *end, Text *text)
{
    return read_blocks(marks_by_neon, at, end, text);
}
#endif

typedef struct {
    const char *name;
    const byte *(*read_string)(const byte *, const byte *, Text *);
} Simd;

/* From the plainest to the fastest; the last one that runs here is used. */
static const Simd SIMD[] = {
    {"portable", read_by_words},
#ifdef HAS_SSE2
    {"sse2", read_by_sse2},
#endif
#ifdef HAS_AVX2
    {"avx2", read_by_avx2},
#endif
#ifdef HAS_NEON
    {"neon", read_by_neon},
#endif
};

static Simd simd;

/* Uses this kind of instructions (NULL: the fastest); false if it is not there. */
static bool use_simd(const char *name)
{
    bool found = false;
    for (size_t i = 0; i < sizeof SIMD / sizeof *SIMD; i++) {
#ifdef HAS_AVX2
        if (SIMD[i].read_string == read_by_avx2 && !__builtin_cpu_supports("avx2"))
            continue;
#endif
        if (name == NULL || strcmp(name, SIMD[i].name) == 0) {
            simd = SIMD[i];
            found = true;
        }
    }
    return found;
}

/* Whether a string of fewer than 16 bytes without escapes starts here, as most names do. */
static inline bool is_short(const byte *at, const byte *end, size_t *size)
{
#ifdef HAS_SSE2
    if (end - at < 16)
        return false;
    __m128i text = _mm_loadu_si128((const __m128i *)at);
    uint64_t stops = equal_in_16(text, '"') | equal_in_16(text, '\\') | controls_in_16(text);
    *size = stops ? (size_t)lowest_bit(stops) : 0;
    return stops && at[*size] == '"';
#else
    (void)at, (void)end, (void)size;
    return false;
#endif
}

static inline const byte *read_string(const byte *at, const byte *end, Text *text)
{
    text->start = at;
    text->escaped = false;
    return is_short(at, end, &text->size) ? at + text->size + 1 : simd.read_string(at, end, text);
}

/* Skips the digits here; NULL if there are none. */
static const byte *skip_digits(const byte *at, const byte *end)
{
    const byte *start = at;
    while (at < end && is_digit(*at))
        at++;
    return at > start ? at : NULL;
}

static const byte *skip_number(const byte *at, const byte *end)
{
    const byte *start = at;
    if (at < end && *at == '-')
        at++;
    bool zero = at < end && *at == '0';
    at = zero ? at + 1 : skip_digits(at, end);
    if (at && at < end && *at == '.')
        at = skip_digits(at + 1, end);
    if (at && at < end && (*at | 0x20) == 'e') {
        at++;
        if (at < end && (*at == '+' || *at == '-'))
            at++;
        at = skip_digits(at, end);
    }
    return at && at - start <= LONGEST_NUMBER ? at : NULL;
}

/* Skips a word such as `null`. */
static const byte *skip_word(const byte *at, const byte *end, const char *word)
{
    size_t size = strlen(word);
    return (size_t)(end - at) >= size && memcmp(at, word, size) == 0 ? at + size : NULL;
}

static inline bool starts_with(const byte *at, const byte *end, byte c)
{
    return at && at < end && *at == c;
}

/* ---- Lists and objects, one item after another:
 *
 *     for (at = first_item(at, end, &more); more; at = next_item(at, end, &more))
 *         at = skip_value(at, end, depth);
 *
 * At the closing bracket, and where a line is declined, there is no more. ---- */

static const byte *after_item(const byte *at, const byte *end, byte close, bool *more)
{
    *more = false;
    if (at == NULL)
        return NULL;
    at = skip_space(at, end);
    if (starts_with(at, end, close))
        return at + 1;
    if (!starts_with(at, end, ','))
        return NULL;
    *more = true;
    return skip_space(at + 1, end);
}

static const byte *before_item(const byte *at, const byte *end, byte close, bool *more)
{
    at = skip_space(at + 1, end);
    *more = !starts_with(at, end, close);
    return *more ? at : at + 1;
}

static const byte *first_item(const byte *at, const byte *end, bool *more)
{
    return before_item(at, end, ']', more);
}

static const byte *next_item(const byte *at, const byte *end, bool *more)
{
    return after_item(at, end, ']', more);
}

/* Reads the name of a field, and goes to its value. */
static const byte *read_name(const byte *at, const byte *end, Text *name, bool *more)
{
    if (!*more)
        return at;
    at = starts_with(at, end, '"') ? read_string(at + 1, end, name) : NULL;
    if (at)
        at = skip_space(at, end);
    *more = starts_with(at, end, ':');
    return *more ? skip_space(at + 1, end) : NULL;
}

static const byte *first_field(const byte *at, const byte *end, Text *name, bool *more)
{
    return read_name(before_item(at, end, '}', more), end, name, more);
}

static const byte *next_field(const byte *at, const byte *end, Text *name, bool *more)
{
    return read_name(after_item(at, end, '}', more), end, name, more);
}

/* Skips a value of any kind, and checks that it is valid. */
static const byte *skip_value(const byte *at, const byte *end, int depth)
{
    Text text;
    bool more;
    if (at == NULL || at >= end)
        return NULL;
    switch (*at) {
    case '"':
        return read_string(at + 1, end, &text);
    case '{':
        if (depth >= DEEPEST)
            return NULL;
        for (at = first_field(at, end, &text, &more); more; at = next_field(at, end, &text, &more))
            at = skip_value(at, end, depth + 1);
        return at;
    case '[':
        if (depth >= DEEPEST)
            return NULL;
        for (at = first_item(at, end, &more); more; at = next_item(at, end, &more))
            at = skip_value(at, end, depth + 1);
        return at;
    case 't':
        return skip_word(at, end, "true");
    case 'f':
        return skip_word(at, end, "false");
    case 'n':
        return skip_word(at, end, "null");
    default:
        return skip_number(at, end);
    }
}

/* ---- Numbers ---- */

/* 5^27 is the largest power of five below 2^63. */
enum { MOST_DIGITS = 19, MOST_POWER = 27 };

#ifdef __SIZEOF_INT128__
/* digits * 10^power, correctly rounded. |power| <= MOST_POWER. */
static double scale(uint64_t digits, int power)
{
    static const double TENS[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                  1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                  1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    /* Where both factors are exact, so is what the processor rounds (Clinger, 1990). */
    if (FLT_EVAL_METHOD == 0 && digits <= (uint64_t)1 << 53 && power >= -22 && power <= 22)
        return power < 0 ? (double)digits / TENS[-power] : (double)digits * TENS[power];
    uint64_t fives = 1;
    for (int i = 0; i < (power < 0 ? -power : power); i++)
        fives *= 5;
    unsigned __int128 value = digits;
    int twos = power;
    bool inexact = false;
    if (power < 0) { /* the quotient gets at least 65 bits */
        int shift = 64 + __builtin_clzll(digits);
        value <<= shift;
        unsigned __int128 quotient = value / fives;
        inexact = quotient * fives != value;
        value = quotient;
        twos -= shift;
    } else {
        value *= fives;
    }
    if (value >> 64) { /* keep the highest 64 bits */
        int shift = 64 - __builtin_clzll((uint64_t)(value >> 64));
        inexact |= (value & (((unsigned __int128)1 << shift) - 1)) != 0;
        value >>= shift;
        twos += shift;
    }
    uint64_t bits = (uint64_t)value;
    int shift = 11 - __builtin_clzll(bits); /* a double has 53 bits */
    if (shift > 0) {
        uint64_t below = bits & (((uint64_t)1 << shift) - 1), half = (uint64_t)1 << (shift - 1);
        bits >>= shift;
        twos += shift;
        bits += below > half || (below == half && (inexact || bits & 1));
    }
    double result = (double)bits;
    uint64_t factor = (uint64_t)(1023 + twos) << 52; /* 2^twos, far from any limit */
    double power_of_two;
    memcpy(&power_of_two, &factor, sizeof factor);
    return result * power_of_two;
}

/* Reads a number; declines one of more digits than can be rounded here. */
static const byte *read_number(const byte *at, const byte *end, double *value)
{
    const byte *after = skip_number(at, end);
    if (after == NULL)
        return NULL;
    bool negative = *at == '-';
    uint64_t digits = 0;
    int count = 0, power = 0, exponent = 0;
    bool point = false;
    for (at += negative; at < after && (*at | 0x20) != 'e'; at++) {
        if (*at == '.') {
            point = true;
            continue;
        }
        if (count == MOST_DIGITS)
            return NULL;
        digits = digits * 10 + (uint64_t)(*at - '0');
        count += digits != 0;
        power -= point;
    }
    if (at == after && !point && digits == 0)
        negative = false; /* -0 is an integer, so it is 0, unlike -0.0 */
    if (at < after) {
        bool minus = at[1] == '-';
        for (at += 1 + (minus || at[1] == '+'); at < after; at++) {
            exponent = exponent * 10 + (*at - '0');
            if (exponent > 10000)
                return NULL;
        }
        power += minus ? -exponent : exponent;
    }
    if (power < -MOST_POWER || power > MOST_POWER)
        return NULL;
    *value = negative ? -scale(digits, power) : scale(digits, power);
    return after;
}
#else
static const byte *read_number(const byte *at, const byte *end, double *value)
{
    (void)at, (void)end, (void)value;
    return NULL;
}
#endif

/* ---- BLAKE2b with a digest of 8 bytes (RFC 7693), as hashlib computes it ---- */

typedef struct {
    uint64_t state[8];
    uint64_t counted; /* bytes compressed so far */
    byte block[128];
    size_t waiting; /* bytes in the block */
} Hash;

static const uint64_t BLAKE_START[8] = {
    0x6a09e667f3bcc908, 0xbb67ae8584caa73b, 0x3c6ef372fe94f82b, 0xa54ff53a5f1d36f1,
    0x510e527fade682d1, 0x9b05688c2b3e6c1f, 0x1f83d9abfb41bd6b, 0x5be0cd19137e2179,
};

static const byte BLAKE_ORDER[10][16] = {
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
    {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
    {11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4},
    {7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
    {9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13},
    {2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
    {12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11},
    {13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
    {6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5},
    {10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0},
};

static inline uint64_t load_little(const byte *at)
{
    uint64_t value;
    memcpy(&value, at, sizeof value);
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    value = __builtin_bswap64(value);
#endif
    return value;
}

static inline uint64_t rotate_right(uint64_t value, int by)
{
    return value >> by | value << (64 - by);
}

static inline void blake_mix(uint64_t *v, int a, int b, int c, int d, uint64_t x, uint64_t y)
{
    v[a] += v[b] + x;
    v[d] = rotate_right(v[d] ^ v[a], 32);
    v[c] += v[d];
    v[b] = rotate_right(v[b] ^ v[c], 24);
    v[a] += v[b] + y;
    v[d] = rotate_right(v[d] ^ v[a], 16);
    v[c] += v[d];
    v[b] = rotate_right(v[b] ^ v[c], 63);
}

static void blake_compress(Hash *hash, const byte *block, size_t size, bool last)
{
    uint64_t v[16], words[16];
    hash->counted += size;
    for (int i = 0; i < 16; i++)
        words[i] = load_little(block + 8 * i);
    memcpy(v, hash->state, sizeof hash->state);
    memcpy(v + 8, BLAKE_START, sizeof BLAKE_START);
    v[12] ^= hash->counted;
    if (last)
        v[14] = ~v[14];
#if defined(__GNUC__)
#pragma GCC unroll 12 /* so that the compiler knows the order of each round */
#endif
    for (int round = 0; round < 12; round++) {
        const byte *order = BLAKE_ORDER[round % 10];
        for (int i = 0; i < 4; i++) /* columns */
            blake_mix(v, i, i + 4, i + 8, i + 12, words[order[2 * i]], words[order[2 * i + 1]]);
        for (int i = 0; i < 4; i++) /* diagonals */
            blake_mix(v, i, (i + 1) % 4 + 4, (i + 2) % 4 + 8, (i + 3) % 4 + 12,
                      words[order[2 * i + 8]], words[order[2 * i + 9]]);
    }
    for (int i = 0; i < 8; i++)
        hash->state[i] ^= v[i] ^ v[i + 8];
}

/* Writes a number in digits; how many. */
enum { MOST_SIZE = 20 };

static size_t write_size(size_t number, char *to)
{
    char digits[MOST_SIZE];
    size_t count = 0;
    do
        digits[count++] = (char)('0' + number % 10);
    while (number /= 10);
    for (size_t i = 0; i < count; i++)
        to[i] = digits[count - 1 - i];
    return count;
}

static void hash_more(Hash *hash, const void *data, size_t size)
{
    const byte *at = data;
    while (size) {
        if (hash->waiting == sizeof hash->block) { /* more follows, so it is not the last one */
            blake_compress(hash, hash->block, sizeof hash->block, false);
            hash->waiting = 0;
        }
        size_t some = sizeof hash->block - hash->waiting;
        some = some < size ? some : size;
        memcpy(hash->block + hash->waiting, at, some);
        hash->waiting += some;
        at += some;
        size -= some;
    }
}

/* Starts a hash; a key has at most 64 bytes, and 0 bytes are no key. */
static void hash_start(Hash *hash, const void *key, size_t key_size)
{
    memset(hash, 0, sizeof *hash);
    memcpy(hash->state, BLAKE_START, sizeof BLAKE_START);
    hash->state[0] ^= 0x01010000 ^ (uint64_t)key_size << 8 ^ 8;
    if (key_size) {
        memcpy(hash->block, key, key_size);
        hash->waiting = sizeof hash->block;
    }
}

static uint64_t hash_end(Hash *hash)
{
    memset(hash->block + hash->waiting, 0, sizeof hash->block - hash->waiting);
    blake_compress(hash, hash->block, hash->waiting, true);
    return hash->state[0];
}

static uint64_t hash_bytes(const void *data, size_t size)
{
    Hash hash;
    hash_start(&hash, NULL, 0);
    hash_more(&hash, data, size);
    return hash_end(&hash);
}

/* ---- Text ---- */

/* The size of the UTF-8 character that starts here; 0 if none does. */
static int character_size(const byte *at, const byte *end)
{
    ptrdiff_t left = end - at;
    byte first = *at;
    if (first < 0x80)
        return 1;
    if (first < 0xc2 || first > 0xf4)
        return 0;
    int size = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    if (left < size)
        return 0;
    for (int i = 1; i < size; i++)
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    /* No second way to write a character, no surrogate, nothing beyond U+10FFFF. */
    if ((first == 0xe0 && at[1] < 0xa0) || (first == 0xed && at[1] > 0x9f) ||
        (first == 0xf0 && at[1] < 0x90) || (first == 0xf4 && at[1] > 0x8f))
        return 0;
    return size;
}

static bool is_utf8(const byte *at, size_t size)
{
    const byte *end = at + size;
    while (at < end) {
        if (end - at >= 32 && !((load_little(at) | load_little(at + 8) | load_little(at + 16) |
                                 load_little(at + 24)) & 0x8080808080808080)) {
            at += 32;
            continue;
        }
        if (end - at >= 8 && !(load_little(at) & 0x8080808080808080)) {
            at += 8;
            continue;
        }
        int more = *at < 0x80 ? 1 : character_size(at, end);
        if (more == 0)
            return false;
        at += more;
    }
    return true;
}

/* Writes a character as UTF-8; how many bytes. */
static int encode_character(uint32_t character, byte *to)
{
    if (character < 0x80) {
        to[0] = (byte)character;
        return 1;
    }
    int size = character < 0x800 ? 2 : character < 0x10000 ? 3 : 4;
    static const byte FIRST[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (int i = size - 1; i > 0; i--) {
        to[i] = (byte)(0x80 | (character & 0x3f));
        character >>= 6;
    }
    to[0] = (byte)(FIRST[size] | character);
    return size;
}

/* Reads the character of a \u escape, or of a pair of surrogates. `at` moves on. */
static uint32_t escaped_character(const byte **at, const byte *end)
{
    uint32_t first = (uint32_t)hex_digits(*at + 2, end);
    *at += 6;
    if (first < 0xd800 || first > 0xdfff)
        return first;
    uint32_t second = (uint32_t)hex_digits(*at + 2, end);
    *at += 6;
    return 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
}

/* Appends the UTF-8 of a text without its escapes; false if it has none. */
static bool unescape(const Text *text, Bytes *to)
{
    static const char FROM[] = "bfnrt", INTO[] = "\b\f\n\r\t";
    const byte *at = text->start, *end = at + text->size;
    /* No escape is shorter than what it stands for. */
    if (!is_utf8(at, text->size) || !make_room(to, text->size))
        return false;
    byte *out = to->data + to->size;
    while (at < end) {
        const byte *escape = text->escaped ? memchr(at, '\\', (size_t)(end - at)) : NULL;
        size_t plain = (size_t)((escape ? escape : end) - at);
        memcpy(out, at, plain);
        out += plain;
        at += plain;
        if (at == end)
            break;
        if (at[1] == 'u') {
            out += encode_character(escaped_character(&at, end), out);
        } else {
            const char *known = strchr(FROM, at[1]);
            *out++ = known ? (byte)INTO[known - FROM] : at[1];
            at += 2;
        }
    }
    to->size = (size_t)(out - to->data);
    return true;
}

/* ---- Columns of values ---- */

/* What a value is. Text is kept decoded; everything from INTEGER on as it stands in the line. */
typedef enum { ABSENT, NULL_VALUE, FALSE_VALUE, TRUE_VALUE, STRING, INTEGER, NUMBER, OTHER } Kind;

/* A value per row: its kind, where its bytes end in `data`, and a number's 8 bytes, an int64 or a
 * double. A number that is neither exactly is OTHER, as lists and objects are. */
typedef struct {
    Bytes kinds, ends, data, numbers;
} Column;

enum { COLUMN_PARTS = sizeof(Column) / sizeof(Bytes) };

/* Ends the value of a row, whose bytes were appended to the data before. */
static void end_value(Column *column, Kind kind, uint64_t number)
{
    byte kind_byte = (byte)kind;
    int32_t end = (int32_t)column->data.size; /* a buffer has less than 2 GB */
    append(&column->kinds, &kind_byte, 1);
    append(&column->ends, &end, sizeof end);
    append(&column->numbers, &number, sizeof number);
}

static size_t row_count(const Column *column) { return column->kinds.size; }

/* Goes back to a number of rows, where a line was declined. */
static void cut_rows(Column *column, size_t rows)
{
    int32_t end = 0;
    if (row_count(column) < rows || !has_memory((const Bytes *)column, COLUMN_PARTS))
        return;
    if (rows)
        memcpy(&end, column->ends.data + (rows - 1) * sizeof end, sizeof end);
    column->kinds.size = rows;
    column->ends.size = rows * sizeof end;
    column->numbers.size = rows * sizeof(uint64_t);
    column->data.size = (size_t)end;
}

/* Gives a column `rows` rows, absent ones at its end. */
static void fill_rows(Column *column, size_t rows)
{
    while (row_count(column) < rows && !column->kinds.failed && !column->ends.failed)
        end_value(column, ABSENT, 0);
}

/* An integer of at most 18 digits; false for any other number. */
static bool read_int64(const byte *at, const byte *end, int64_t *value)
{
    bool negative = at < end && *at == '-';
    at += negative;
    if (end - at > 18 || (negative && *at == '0'))
        return false;
    for (*value = 0; at < end && is_digit(*at); at++)
        *value = *value * 10 + (*at - '0');
    *value = negative ? -*value : *value;
    return at == end;
}

static Kind read_number_kind(const byte *at, const byte *end, uint64_t *bits)
{
    int64_t integer;
    double number;
    if (read_int64(at, end, &integer)) {
        memcpy(bits, &integer, sizeof integer);
        return INTEGER;
    }
    bool is_whole = true;
    for (const byte *digit = at; digit < end; digit++)
        is_whole &= is_digit(*digit) || *digit == '-';
    if (is_whole || read_number(at, end, &number) == NULL)
        return OTHER;
    memcpy(bits, &number, sizeof number);
    return NUMBER;
}

/* Reads a value of any kind into the next row of a column. */
static const byte *read_value(const byte *at, const byte *end, Column *column)
{
    Text text;
    uint64_t bits = 0;
    if (starts_with(at, end, '"')) {
        at = read_string(at + 1, end, &text);
        if (at == NULL || !unescape(&text, &column->data))
            return NULL;
        end_value(column, STRING, 0);
        return at;
    }
    const byte *after = skip_value(at, end, 2);
    if (after == NULL)
        return NULL;
    Kind kind = *at == 'n'                              ? NULL_VALUE
                : *at == 'f'                            ? FALSE_VALUE
                : *at == 't'                            ? TRUE_VALUE
                : *at == '-' || is_digit(*at) ? read_number_kind(at, after, &bits)
                                                        : OTHER;
    if (kind >= INTEGER)
        append(&column->data, at, (size_t)(after - at));
    end_value(column, kind, bits);
    return after;
}

/* ---- Scores ---- */

/* The name of a field in the UTF-8 of a line. */
typedef struct {
    const char *name;
    size_t size;
} Field;

#define FIELD(name) ((Field){name, sizeof(name) - 1})

static inline bool is_field(const Text *name, Field field)
{
    return name->size == field.size && field.size &&
           memcmp(name->start, field.name, field.size) == 0;
}

/* Reads a score: a number, a bool, or null, which is missing. */
static const byte *read_score(const byte *at, const byte *end, double *score)
{
    if (at >= end)
        return NULL;
    *score = *at == 't' ? 1.0 : *at == 'f' ? 0.0 : NAN;
    return is_digit(*at) || *at == '-' ? read_number(at, end, score)
           : *at == '"' || *at == '{' || *at == '[' ? NULL
                                                    : skip_value(at, end, 0);
}

/* Reads the entry of one response: a score, or an object that has one in this field. */
static const byte *read_entry(const byte *at, const byte *end, Field field, double *score)
{
    Text name;
    bool more, found = false;
    if (!starts_with(at, end, '{'))
        return read_score(at, end, score);
    *score = NAN;
    for (at = first_field(at, end, &name, &more); more; at = next_field(at, end, &name, &more)) {
        if (name.escaped)
            return NULL;
        if (!is_field(&name, field)) {
            at = skip_value(at, end, 2);
            continue;
        }
        if (found)
            return NULL;
        found = true;
        at = read_score(at, end, score);
    }
    return at;
}

/* Reads a list of entries and appends their scores, `*count` of them. */
static const byte *read_reward(const byte *at, const byte *end, Field field, Bytes *scores,
                               int64_t *count)
{
    double score = NAN;
    bool more;
    *count = 0;
    if (!starts_with(at, end, '['))
        return NULL;
    for (at = first_item(at, end, &more); more; at = next_item(at, end, &more)) {
        at = read_entry(at, end, field, &score);
        append(scores, &score, sizeof score);
        ++*count;
    }
    return at;
}

/* ---- Prompts ---- */

/* A message; a part of it that is null or absent has no start. `calls` is the JSON of its tool calls;
 * it has no start if there are none. */
typedef struct {
    Text role, content, calls;
} Turn;

/* Reads a string or null, once. */
static const byte *read_part(const byte *at, const byte *end, Text *part, bool *found)
{
    if (*found)
        return NULL;
    *found = true;
    return starts_with(at, end, '"') ? read_string(at + 1, end, part) : skip_word(at, end, "null");
}

/* Reads a list that is not empty; any other value is passed over. */
static const byte *read_calls(const byte *at, const byte *end, Text *calls, bool *found)
{
    if (*found)
        return NULL;
    *found = true;
    const byte *after = skip_value(at, end, 3);
    if (after && *at == '[' && *skip_space(at + 1, end) != ']')
        *calls = (Text){at, (size_t)(after - at), false};
    return after;
}

/* Reads a message; with `strict` one of other fields, too, is declined. */
static const byte *read_turn(const byte *at, const byte *end, bool strict, Turn *turn)
{
    Text name;
    bool more, has_role = false, has_content = false, has_calls = false;
    memset(turn, 0, sizeof *turn);
    if (!starts_with(at, end, '{'))
        return NULL;
    for (at = first_field(at, end, &name, &more); more; at = next_field(at, end, &name, &more)) {
        if (name.escaped)
            return NULL;
        if (is_field(&name, FIELD("role")))
            at = read_part(at, end, &turn->role, &has_role);
        else if (is_field(&name, FIELD("content")))
            at = read_part(at, end, &turn->content, &has_content);
        else if (!strict && is_field(&name, FIELD("tool_calls")))
            at = read_calls(at, end, &turn->calls, &has_calls);
        else
            at = strict ? NULL : skip_value(at, end, 3);
    }
    return at;
}

/* Reads a string, which is one message of the user, a list of messages, or null. */
static const byte *read_turns(const byte *at, const byte *end, bool strict, Bytes *turns)
{
    bool more;
    turns->size = 0;
    Turn turn = {{(const byte *)"user", 4, false}, {NULL, 0, false}, {NULL, 0, false}};
    if (starts_with(at, end, '"')) {
        at = read_string(at + 1, end, &turn.content);
        if (turn.content.size)
            append(turns, &turn, sizeof turn);
        return at;
    }
    if (!starts_with(at, end, '['))
        return skip_word(at, end, "null");
    for (at = first_item(at, end, &more); more; at = next_item(at, end, &more)) {
        at = read_turn(at, end, strict, &turn);
        append(turns, &turn, sizeof turn);
    }
    return at;
}

static size_t turn_count(const Bytes *turns) { return turns->size / sizeof(Turn); }

static Turn turn_of(const Bytes *turns, size_t number)
{
    Turn turn;
    memcpy(&turn, turns->data + number * sizeof turn, sizeof turn);
    return turn;
}

static bool is_said_by(const Turn *turn, Field role)
{
    return turn->role.start && is_field(&turn->role, role);
}

/* Leaves out the trailing turns of the assistant. */
static void leave_out_answers(Bytes *turns)
{
    while (turns->size) {
        Turn last = turn_of(turns, turn_count(turns) - 1);
        if (!is_said_by(&last, FIELD("assistant")))
            return;
        turns->size -= sizeof last;
    }
}

/* Appends `:<bytes>:` to a part of the hashed text that began at `before`. */
static void append_size(size_t before, Bytes *text)
{
    char size[MOST_SIZE];
    size_t digits = write_size(text->size - before, size);
    append(text, ":", 1); /* after the part, for only then is its size known */
    append(text, size, digits);
    append(text, ":", 1);
}

/* Appends `<text>:<bytes>:`, or `-` for a part that is not there. */
static bool append_part(const Text *part, Bytes *text)
{
    size_t before = text->size;
    if (part->start == NULL) {
        append(text, "-", 1);
        return true;
    }
    if (!unescape(part, text))
        return false;
    append_size(before, text);
    return true;
}

/* Appends `tool_calls:<JSON>:<bytes>:` if there are any. */
static void append_calls(const Text *calls, Bytes *text)
{
    if (calls->start == NULL)
        return;
    append(text, "tool_calls:", 11);
    size_t before = text->size;
    append(text, calls->start, calls->size);
    append_size(before, text);
}

/* The hash of what tells a prompt from others (`hash_texts` in Python): 0 for no text. A single
 * message of the user is its text alone. `text` is room to work in; false to decline the line. */
static bool hash_turns(const Bytes *turns, Bytes *text, uint64_t *hash)
{
    size_t count = turn_count(turns);
    text->size = 0;
    *hash = 0;
    for (size_t i = 0; i < count; i++) {
        Turn turn = turn_of(turns, i);
        if (turn.role.escaped)
            return false;
        bool alone = count == 1 && is_said_by(&turn, FIELD("user")) && turn.content.start &&
                     turn.calls.start == NULL;
        if (!(alone ? unescape(&turn.content, text)
                    : append_part(&turn.role, text) && append_part(&turn.content, text)))
            return false;
        append_calls(&turn.calls, text);
    }
    if (text->size)
        *hash = hash_bytes(text->data, text->size);
    return true;
}

/* ---- The scores of a block ---- */

typedef struct {
    Bytes ends, counts, scores, prompts, declined; /* what is returned */
    Column key;                                     /* this, too */
    Bytes turns, text;                              /* room to work in */
} Scores;

/* Reads the fields of a line: appends the scores, `*count` of them, and reads the turns of the
 * prompt: those of `messages` without answers if there are none in `prompt`. */
static const byte *read_scored(const byte *at, const byte *end, Field score, Field key,
                               Scores *found, int64_t *count)
{
    Text name;
    bool more, has_prompt = false, has_key = false;
    const byte *messages = NULL;
    *count = -1;
    found->turns.size = 0;
    for (at = first_field(at, end, &name, &more); more; at = next_field(at, end, &name, &more)) {
        if (name.escaped)
            return NULL;
        if (is_field(&name, FIELD("reward"))) {
            at = *count < 0 ? read_reward(at, end, score, &found->scores, count) : NULL;
        } else if (is_field(&name, FIELD("prompt"))) {
            at = has_prompt ? NULL : read_turns(at, end, false, &found->turns);
            has_prompt = true;
        } else if (is_field(&name, key)) {
            at = has_key ? NULL : read_value(at, end, &found->key);
            has_key = true;
        } else {
            if (is_field(&name, FIELD("messages"))) {
                if (messages)
                    return NULL;
                messages = at;
            }
            at = skip_value(at, end, 1);
        }
    }
    if (*count < 0)
        return NULL;
    if (at && messages && found->turns.size == 0) {
        if (read_turns(messages, end, false, &found->turns) == NULL)
            return NULL;
        if (*messages == '[')
            leave_out_answers(&found->turns);
    }
    return at;
}

/* Reads a line; the place after it, or NULL to decline it. */
static const byte *scan_line(const byte *at, const byte *end, Field score, Field key,
                             Scores *found)
{
    size_t scores_before = found->scores.size, row = found->counts.size / sizeof(int64_t);
    uint64_t hash;
    int64_t count;
    at = skip_space(at, end);
    at = starts_with(at, end, '{') ? read_scored(at, end, score, key, found, &count) : NULL;
    if (at)
        at = skip_space(at, end);
    if (at == NULL || !(at == end || *at == '\n') ||
        !hash_turns(&found->turns, &found->text, &hash)) {
        found->scores.size = scores_before;
        cut_rows(&found->key, row);
        return NULL;
    }
    append_integer(&found->counts, count);
    append(&found->prompts, &hash, sizeof hash);
    if (key.size)
        fill_rows(&found->key, row + 1);
    return at;
}

/* Reads the scores of every line, and with the name of a field `key` its value, too. */
static bool scan_scores(const byte *buffer, size_t size, Field score, Field key, Scores *found)
{
    const byte *at = buffer, *end = buffer + size;
    for (int64_t line = 0; at < end; line++, at++) {
        const byte *after = scan_line(at, end, score, key, found);
        if (after == NULL) {
            append_integer(&found->declined, line);
            after = memchr(at, '\n', (size_t)(end - at));
        }
        at = after ? after : end;
        append_integer(&found->ends, at - buffer);
    }
    return has_memory((Bytes *)found, sizeof *found / sizeof(Bytes));
}

/* ---- Rows ---- */

/* Which fields a row is made of; one without a name is not read. */
typedef struct {
    Field score, prompt, messages, truth, reward_model;
    bool best_response;
    const byte *seed; /* the key of prompt hashes */
    size_t seed_size;
    const byte *marks; /* texts, each after a byte that is its size: a prompt with one is declined */
    size_t marks_size;
} RowFields;

/* The fields of extra_info: a name in `names` and a column for each. */
enum { MOST_FIELDS = 64 };

typedef struct {
    /* Of every line its end, and the numbers of those declined. Of every row: how many scores and
     * turns it has, the hash and the length of its prompt, how many answers were left out of it, and
     * which response is best (-1: none). */
    Bytes ends, declined, counts, scores, turn_counts, hashes, characters, answers, best_indexes;
    /* Of every turn its role and content; of every row the rest. */
    Column roles, contents, key, ability, source, truth, best_text, best_reward;
    Column own[MOST_FIELDS];
    Bytes names[MOST_FIELDS];
    Bytes turns, text, choices, responses; /* room to work in */
    /* From here on no Bytes. */
    size_t own_count;
    Hash seeded;
} Rows;

/* Where the fields of a line start that are read once all of it was seen; NULL without one. */
typedef struct {
    const byte *reward, *messages, *model_truth;
    bool has_prompt, has_choices, has_responses, has_truth, has_key, has_ability, has_source;
    bool has_own, has_response, has_model;
    int64_t count; /* of scores */
} RowLine;

static size_t rows_read(const Rows *rows) { return rows->counts.size / sizeof(int64_t); }

/* Whether this is the first time that a flag is raised. */
static bool raise_flag(bool *flag)
{
    bool first = !*flag;
    *flag = true;
    return first;
}

/* The column of a field of extra_info, which usually is the next one; NULL if there are too many. */
static Column *own_column(Rows *rows, const Text *name, size_t next)
{
    for (size_t i = 0; i < rows->own_count; i++) {
        size_t at = (next + i) % rows->own_count;
        Bytes *known = &rows->names[at];
        if (known->size == name->size && memcmp(known->data, name->start, name->size) == 0)
            return &rows->own[at];
    }
    if (rows->own_count == MOST_FIELDS || !is_utf8(name->start, name->size))
        return NULL;
    Column *column = &rows->own[rows->own_count];
    append(&rows->names[rows->own_count++], name->start, name->size);
    fill_rows(column, rows_read(rows));
    return column;
}

static const byte *read_own(const byte *at, const byte *end, Rows *rows)
{
    Text name;
    bool more;
    size_t next = 0;
    if (!starts_with(at, end, '{'))
        return skip_word(at, end, "null");
    for (at = first_field(at, end, &name, &more); more; at = next_field(at, end, &name, &more)) {
        Column *column = name.escaped ? NULL : own_column(rows, &name, next);
        if (column == NULL || row_count(column) > rows_read(rows)) /* there is one already */
            return NULL;
        next = (size_t)(column - rows->own) + 1;
        fill_rows(column, rows_read(rows));
        at = read_value(at, end, column);
    }
    return at;
}

/* Keeps where each item of a list starts. */
static const byte *read_items(const byte *at, const byte *end, Bytes *items)
{
    bool more;
    items->size = 0;
    if (!starts_with(at, end, '['))
        return NULL;
    for (at = first_item(at, end, &more); more; at = next_item(at, end, &more)) {
        append(items, &at, sizeof at);
        at = skip_value(at, end, 3);
    }
    return at;
}

/* Finds one field of an object, or null: where its value starts, NULL without one. */
static const byte *find_field(const byte *at, const byte *end, Field field, const byte **value)
{
    Text name;
    bool more;
    *value = NULL;
    if (!starts_with(at, end, '{'))
        return skip_word(at, end, "null");
    for (at = first_field(at, end, &name, &more); more; at = next_field(at, end, &name, &more)) {
        if (name.escaped)
            return NULL;
        if (is_field(&name, field)) {
            if (*value)
                return NULL;
            *value = at;
        }
        at = skip_value(at, end, 2);
    }
    return at;
}

/* Keeps where each of `response.choices` starts. */
static const byte *read_response(const byte *at, const byte *end, Rows *rows, RowLine *line)
{
    Text name;
    bool more, found = false;
    if (!starts_with(at, end, '{'))
        return skip_word(at, end, "null");
    for (at = first_field(at, end, &name, &more); more; at = next_field(at, end, &name, &more)) {
        if (name.escaped)
            return NULL;
        if (!is_field(&name, FIELD("choices"))) {
            at = skip_value(at, end, 2);
            continue;
        }
        if (!raise_flag(&found))
            return NULL;
        line->has_choices = !starts_with(at, end, 'n');
        at = line->has_choices ? read_items(at, end, &rows->choices) : skip_word(at, end, "null");
    }
    return at;
}

static const byte *read_row_field(const byte *at, const byte *end, const Text *name,
                                  const RowFields *fields, Rows *rows, RowLine *line)
{
    if (is_field(name, FIELD("reward"))) {
        if (line->reward)
            return NULL;
        line->reward = at;
        return read_reward(at, end, fields->score, &rows->scores, &line->count);
    }
    if (is_field(name, fields->prompt))
        return raise_flag(&line->has_prompt) ? read_turns(at, end, true, &rows->turns) : NULL;
    if (is_field(name, fields->truth))
        return raise_flag(&line->has_truth) ? read_value(at, end, &rows->truth) : NULL;
    if (is_field(name, FIELD("key")))
        return raise_flag(&line->has_key) ? read_value(at, end, &rows->key) : NULL;
    if (is_field(name, FIELD("ability")))
        return raise_flag(&line->has_ability) ? read_value(at, end, &rows->ability) : NULL;
    if (is_field(name, FIELD("data_source")))
        return raise_flag(&line->has_source) ? read_value(at, end, &rows->source) : NULL;
    if (is_field(name, FIELD("extra_info")))
        return raise_flag(&line->has_own) ? read_own(at, end, rows) : NULL;
    if (is_field(name, fields->reward_model))
        return raise_flag(&line->has_model)
                   ? find_field(at, end, FIELD("ground_truth"), &line->model_truth)
                   : NULL;
    if (fields->best_response && is_field(name, FIELD("response")))
        return raise_flag(&line->has_response) ? read_response(at, end, rows, line) : NULL;
    if (fields->best_response && is_field(name, FIELD("responses"))) {
        if (line->has_responses || starts_with(at, end, 'n'))
            return line->has_responses ? NULL : skip_word(at, end, "null");
        line->has_responses = true;
        return read_items(at, end, &rows->responses);
    }
    if (is_field(name, fields->messages)) {
        if (line->messages)
            return NULL;
        line->messages = at;
    }
    return skip_value(at, end, 1);
}

/* Gives a column its row: a string, or nothing where the line has null or no such field. */
static bool end_text(Column *column, bool with_integers, size_t row)
{
    fill_rows(column, row + 1);
    if (column->kinds.size <= row) /* no memory */
        return false;
    byte kind = column->kinds.data[row];
    return kind == ABSENT || kind == NULL_VALUE || kind == STRING ||
           (with_integers && kind == INTEGER);
}

/* ---- The prompt of a row ---- */

/* The size of the white space that starts here, as Python's str.split takes it; 0 for anything else.
 * The text is UTF-8. */
static int space_size(const byte *at, const byte *end)
{
    byte first = *at;
    if (first < 0x80)
        return first == ' ' || (first >= '\t' && first <= '\r') || (first >= 0x1c && first <= 0x1f);
    if (first == 0xc2)
        return at[1] == 0x85 || at[1] == 0xa0 ? 2 : 0;
    if (first < 0xe1 || first > 0xe3 || end - at < 3)
        return 0;
    uint32_t code = (uint32_t)(first & 0x0f) << 12 | (uint32_t)(at[1] & 0x3f) << 6 | (at[2] & 0x3f);
    bool is_space = code == 0x1680 || (code >= 0x2000 && code <= 0x200a) || code == 0x2028 ||
                    code == 0x2029 || code == 0x202f || code == 0x205f || code == 0x3000;
    return is_space ? 3 : 0;
}

static size_t count_characters(const byte *at, size_t size)
{
    size_t count = 0;
    for (size_t i = 0; i < size; i++)
        count += (at[i] & 0xc0) != 0x80;
    return count;
}

/* Appends `" ".join(text.split())`. */
static void append_collapsed(const byte *at, size_t size, Bytes *to)
{
    const byte *end = at + size;
    if (!make_room(to, size))
        return;
    byte *first = to->data + to->size, *out = first;
    bool space = false;
    while (at < end) {
        int skipped = *at > ' ' && *at < 0xc2 ? 0 : space_size(at, end);
        if (skipped) {
            space = true;
            at += skipped;
            continue;
        }
        if (space && out > first)
            *out++ = ' ';
        space = false;
        *out++ = *at++;
    }
    to->size += (size_t)(out - first);
}

/* Hashes `<length>:<text>`, its length in characters. */
static void hash_sized(Hash *hash, const byte *text, size_t size)
{
    char length[MOST_SIZE];
    hash_more(hash, length, write_size(count_characters(text, size), length));
    hash_more(hash, ":", 1);
    hash_more(hash, text, size);
}

/* Whether a text occurs in another. */
static bool holds(const byte *text, size_t size, const byte *wanted, size_t wanted_size)
{
    const byte *end = text + size;
    while ((size_t)(end - text) >= wanted_size) {
        text = memchr(text, wanted[0], (size_t)(end - text) - wanted_size + 1);
        if (text == NULL)
            return false;
        if (memcmp(text, wanted, wanted_size) == 0)
            return true;
        text++;
    }
    return false;
}

static bool holds_mark(const byte *text, size_t size, const RowFields *fields)
{
    const byte *mark = fields->marks, *end = mark + fields->marks_size;
    for (; mark < end; mark += 1 + mark[0])
        if (holds(text, size, mark + 1, mark[0]))
            return true;
    return false;
}

/* Whether a character may be white space, rather yes than no. */
static bool may_be_space(int32_t character)
{
    return character <= 0x20 || character == 0x85 || character == 0xa0 || character == 0x1680 ||
           (character >= 0x2000 && character < 0x2070) || character == 0x3000;
}

/* Goes over what may be white space in a text as it stands in the line, with its escapes. */
static const byte *after_space(const byte *at, const byte *end)
{
    while (at < end) {
        if (*at == ' ' || *at >= 0x80)
            at++;
        else if (*at == '\\' && at[1] == 'u' && may_be_space(hex_digits(at + 2, end)))
            at += 6;
        else if (*at == '\\' && strchr("nrtf", at[1]))
            at += 2;
        else
            break;
    }
    return at;
}

/* The same from the end of a text backwards. */
static const byte *before_space(const byte *at, const byte *end)
{
    while (end > at) {
        ptrdiff_t left = end - at;
        if (end[-1] == ' ' || end[-1] >= 0x80)
            end--;
        else if (left >= 2 && end[-2] == '\\' && strchr("nrtf", end[-1]))
            end -= 2;
        else if (left >= 6 && end[-6] == '\\' && end[-5] == 'u' &&
                 may_be_space(hex_digits(end - 4, end)))
            end -= 6;
        else
            break;
    }
    return end;
}

/* Whether an answer may be no more than an opening that the prompt ends with: a tag, an empty pair
 * of tags, or text that ends with `<think>`. Rather yes than no, for such a line is declined. */
static bool may_be_opening(const Text *text)
{
    const byte *at = text->start, *end = before_space(at, at + text->size);
    if (holds(at, text->size, (const byte *)"\\u003", 5)) /* a tag may be written with escapes */
        return true;
    if (end == at || end[-1] != '>')
        return false;
    if (end - at >= 7 && memcmp(end - 7, "<think>", 7) == 0)
        return true;
    at = after_space(at, end);
    if (*at != '<')
        return false;
    at = after_space((const byte *)memchr(at, '>', (size_t)(end - at)) + 1, end);
    return at == end || *at == '<';
}

/* Leaves out the trailing turns of the assistant; how many, or -1 if one may be an opening. */
static int leave_out_row_answers(Bytes *turns)
{
    int left_out = 0;
    while (turns->size) {
        Turn last = turn_of(turns, turn_count(turns) - 1);
        if (!is_said_by(&last, FIELD("assistant")))
            break;
        if (left_out == 0 && (last.content.start == NULL || may_be_opening(&last.content)))
            return -1;
        turns->size -= sizeof last;
        left_out++;
    }
    return left_out;
}

/* Appends a turn to the columns and to the hash; false to decline the line. */
static bool end_turn(const Turn *turn, const RowFields *fields, Rows *rows, Hash *hash,
                     size_t *characters, bool *has_text)
{
    Bytes *roles = &rows->roles.data, *contents = &rows->contents.data;
    size_t role = roles->size, content = contents->size;
    if (turn->role.start == NULL || turn->content.start == NULL || !unescape(&turn->role, roles) ||
        !unescape(&turn->content, contents))
        return false;
    end_value(&rows->roles, STRING, 0);
    end_value(&rows->contents, STRING, 0);
    const byte *said = contents->data + content;
    size_t size = contents->size - content;
    if (holds_mark(said, size, fields))
        return false;
    rows->text.size = 0;
    append_collapsed(said, size, &rows->text);
    *has_text |= rows->text.size > 0;
    hash_sized(hash, roles->data + role, roles->size - role);
    hash_sized(hash, rows->text.data, rows->text.size);
    *characters += count_characters(said, size);
    return true;
}

/* Reads what a row asks: its prompt, or else its messages, without answers. */
static bool end_prompt(const RowLine *line, const byte *end, const RowFields *fields, Rows *rows)
{
    Bytes *turns = &rows->turns;
    if (turns->size == 0 && line->messages &&
        (!starts_with(line->messages, end, '[') || !read_turns(line->messages, end, true, turns)))
        return false;
    int answers = leave_out_row_answers(turns);
    size_t count = turn_count(turns), characters = 0;
    bool has_text = false;
    Hash hash = rows->seeded;
    if (answers < 0)
        return false;
    for (size_t i = 0; i < count; i++) {
        Turn turn = turn_of(turns, i);
        if (!end_turn(&turn, fields, rows, &hash, &characters, &has_text))
            return false;
    }
    if (!has_text)
        return false;
    append_integer(&rows->turn_counts, (int64_t)count);
    append_integer(&rows->hashes, (int64_t)hash_end(&hash));
    append_integer(&rows->characters, (int64_t)characters);
    append_integer(&rows->answers, answers);
    return true;
}

/* ---- The best response of a row ---- */

/* Reads the content of a message, once, into the next row of a column. */
static const byte *read_content(const byte *at, const byte *end, Column *text)
{
    Text name;
    bool more, found = false;
    if (!starts_with(at, end, '{'))
        return NULL;
    for (at = first_field(at, end, &name, &more); more; at = next_field(at, end, &name, &more)) {
        if (name.escaped)
            return NULL;
        if (is_field(&name, FIELD("content")))
            at = raise_flag(&found) ? read_value(at, end, text) : NULL;
        else
            at = skip_value(at, end, 4);
    }
    return at;
}

/* Reads a choice into the next row of a column: `message.content`, or `text` without a message. */
static const byte *read_choice(const byte *at, const byte *end, Column *column)
{
    Text name;
    bool more, has_message = false, found = false;
    const byte *text = NULL;
    if (!starts_with(at, end, '{'))
        return skip_word(at, end, "null");
    for (at = first_field(at, end, &name, &more); more; at = next_field(at, end, &name, &more)) {
        if (name.escaped)
            return NULL;
        if (is_field(&name, FIELD("message"))) {
            if (!raise_flag(&found))
                return NULL;
            has_message = !starts_with(at, end, 'n');
            at = has_message ? read_content(at, end, column) : skip_word(at, end, "null");
            continue;
        }
        if (is_field(&name, FIELD("text"))) {
            if (text)
                return NULL;
            text = at;
        }
        at = skip_value(at, end, 3);
    }
    if (at == NULL || has_message || text == NULL)
        return at;
    return read_value(text, end, column) ? at : NULL;
}

/* Where the item of this index starts in a list that has it and was read before. */
static const byte *item_at(const byte *at, const byte *end, int64_t index)
{
    bool more;
    at = first_item(at, end, &more);
    while (index--)
        at = next_item(skip_value(at, end, 2), end, &more);
    return at;
}

/* The index of the first of the highest scores; -1 if all are missing. */
static int64_t find_best(const Rows *rows, int64_t count)
{
    int64_t best = -1;
    double highest = 0;
    if (count == 0)
        return best;
    const byte *scores = rows->scores.data + rows->scores.size - (size_t)count * sizeof(double);
    for (int64_t i = 0; i < count; i++) {
        double score;
        memcpy(&score, scores + (size_t)i * sizeof score, sizeof score);
        if (score == score && (best < 0 || score > highest)) { /* NaN is missing */
            best = i;
            highest = score;
        }
    }
    return best;
}

/* Reads the text and the reward of a row's best response. */
static bool end_best(const RowLine *line, const byte *end, Rows *rows)
{
    if (rows->scores.failed)
        return false;
    int64_t best = find_best(rows, line->count);
    const Bytes *held = line->has_choices ? &rows->choices : &rows->responses;
    bool has_held = line->has_choices || line->has_responses;
    append_integer(&rows->best_indexes, best);
    if (has_held && held->size != (size_t)line->count * sizeof(byte *))
        return false;
    if (best < 0)
        return true;
    if (has_held) {
        const byte *item;
        memcpy(&item, held->data + (size_t)best * sizeof item, sizeof item);
        if (!(line->has_choices ? read_choice(item, end, &rows->best_text)
                                : read_value(item, end, &rows->best_text)))
            return false;
    }
    const byte *entry = item_at(line->reward, end, best);
    const byte *after = skip_value(entry, end, 2);
    append(&rows->best_reward.data, entry, (size_t)(after - entry));
    end_value(&rows->best_reward, OTHER, 0);
    return true;
}

/* ---- The rows of a block ---- */

/* Completes the columns of a row whose line was read; false to decline it. */
static bool end_row(const RowLine *line, const byte *end, const RowFields *fields, Rows *rows)
{
    size_t row = rows_read(rows);
    bool has_truth = row_count(&rows->truth) > row && rows->truth.kinds.data[row] != NULL_VALUE;
    if (line->model_truth && !has_truth) {
        cut_rows(&rows->truth, row);
        if (read_value(line->model_truth, end, &rows->truth) == NULL)
            return false;
    }
    if (!end_prompt(line, end, fields, rows) || !end_text(&rows->key, true, row) ||
        !end_text(&rows->ability, false, row) || !end_text(&rows->source, false, row))
        return false;
    if (fields->best_response) {
        if (!end_best(line, end, rows) || !end_text(&rows->best_text, false, row))
            return false;
        fill_rows(&rows->best_reward, row + 1);
    }
    fill_rows(&rows->truth, row + 1);
    for (size_t i = 0; i < rows->own_count; i++)
        fill_rows(&rows->own[i], row + 1);
    append_integer(&rows->counts, line->count);
    return true;
}

/* Reads a line; the place after it, or NULL to decline it. */
static const byte *read_row(const byte *at, const byte *end, const RowFields *fields, Rows *rows)
{
    RowLine line;
    Text name;
    bool more;
    memset(&line, 0, sizeof line);
    rows->turns.size = 0;
    at = skip_space(at, end);
    if (!starts_with(at, end, '{'))
        return NULL;
    for (at = first_field(at, end, &name, &more); more; at = next_field(at, end, &name, &more))
        at = name.escaped ? NULL : read_row_field(at, end, &name, fields, rows, &line);
    if (at == NULL || line.reward == NULL)
        return NULL;
    at = skip_space(at, end);
    return (at == end || *at == '\n') && end_row(&line, end, fields, rows) ? at : NULL;
}

/* Goes back to where a declined line began. */
static void cut_row(Rows *rows, size_t scores, size_t turns, size_t own)
{
    size_t row = rows_read(rows);
    Bytes *numbers[] = {&rows->turn_counts, &rows->hashes, &rows->characters, &rows->answers,
                        &rows->best_indexes};
    Column *columns[] = {&rows->key,   &rows->ability,   &rows->source,
                         &rows->truth, &rows->best_text, &rows->best_reward};
    rows->scores.size = scores;
    cut_rows(&rows->roles, turns);
    cut_rows(&rows->contents, turns);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (numbers[i]->size > row * sizeof(int64_t))
            numbers[i]->size = row * sizeof(int64_t);
    for (size_t i = 0; i < sizeof columns / sizeof *columns; i++)
        cut_rows(columns[i], row);
    for (size_t i = 0; i < rows->own_count; i++)
        cut_rows(&rows->own[i], i < own ? row : 0);
    for (; rows->own_count > own; rows->own_count--)
        rows->names[rows->own_count - 1].size = 0;
}

/* How many of the struct's first Bytes there are. */
enum { ROW_BYTES = offsetof(Rows, own_count) / sizeof(Bytes) };

static bool read_rows(const byte *buffer, size_t size, const RowFields *fields, Rows *rows)
{
    const byte *at = buffer, *end = buffer + size;
    hash_start(&rows->seeded, fields->seed, fields->seed_size);
    if (rows->seeded.waiting) { /* text follows in every prompt, so the block of the key is full */
        blake_compress(&rows->seeded, rows->seeded.block, sizeof rows->seeded.block, false);
        rows->seeded.waiting = 0;
    }
    for (int64_t line = 0; at < end; line++, at++) {
        size_t scores = rows->scores.size, turns = row_count(&rows->roles);
        size_t own = rows->own_count;
        const byte *after = read_row(at, end, fields, rows);
        if (after == NULL) {
            cut_row(rows, scores, turns, own);
            append_integer(&rows->declined, line);
            after = memchr(at, '\n', (size_t)(end - at));
        }
        at = after ? after : end;
        append_integer(&rows->ends, at - buffer);
    }
    return has_memory((Bytes *)rows, ROW_BYTES);
}

/* ---- The fields of a dump's lines: where each value is ---- */

enum { MOST_NAMES = 64, LONG_NUMBER = 512 };

/* Kinds of values; Python knows these numbers. An integer is written as Python would write it. */
typedef enum {
    IS_ABSENT, IS_NULL, IS_TRUE, IS_FALSE, IS_INTEGER, IS_NUMBER, IS_STRING, IS_LIST, IS_OBJECT
} RawKind;

/* A value as it stands in a line. */
typedef struct {
    const byte *start; /* NULL: there is none */
    size_t size;
} Raw;

static bool is_integer(Raw raw)
{
    size_t sign = raw.start[0] == '-';
    if (raw.size > 18 + sign || (sign && raw.start[1] == '0'))
        return false;
    for (size_t i = sign; i < raw.size; i++)
        if (!is_digit(raw.start[i]))
            return false;
    return true;
}

static RawKind kind_of(Raw raw)
{
    if (raw.start == NULL)
        return IS_ABSENT;
    switch (*raw.start) {
    case 'n': return IS_NULL;
    case 't': return IS_TRUE;
    case 'f': return IS_FALSE;
    case '"': return IS_STRING;
    case '[': return IS_LIST;
    case '{': return IS_OBJECT;
    default: return is_integer(raw) ? IS_INTEGER : IS_NUMBER;
    }
}

/* Whether there is a run of LONG_NUMBER digits: Python refuses to read numbers of thousands. */
static bool has_long_number(const byte *at, const byte *end)
{
    for (const byte *probe = at; end - probe >= LONG_NUMBER; probe += LONG_NUMBER) {
        const byte *last = probe + LONG_NUMBER - 1, *first = last;
        while (first > at && is_digit(*first))
            first--;
        while (last < end && is_digit(*last))
            last++;
        if (last - first >= LONG_NUMBER)
            return true;
    }
    return false;
}

typedef struct {
    Bytes ends, kinds, places, declined;
} Index;

/* Puts a value into the row of its line, which begins at `row`; false if there is one already. */
static bool note_value(Index *found, size_t row, Raw raw, const byte *buffer)
{
    byte *kind = found->kinds.data + row;
    uint32_t place[2] = {(uint32_t)(raw.start - buffer), (uint32_t)(raw.start - buffer + raw.size)};
    if (*kind != IS_ABSENT)
        return false;
    *kind = (byte)kind_of(raw);
    memcpy(found->places.data + row * sizeof place, place, sizeof place);
    return true;
}

/* Reads a line into its row; the place after it, or NULL to decline it. */
static const byte *index_line(const byte *buffer, const byte *at, const byte *end,
                              const Field *names, size_t count, Index *found, size_t row)
{
    const byte *line = at;
    Text name;
    bool more;
    size_t next = 0; /* after the last name that was there: fields often come in one order */
    at = skip_space(at, end);
    if (!starts_with(at, end, '{'))
        return NULL;
    for (at = first_field(at, end, &name, &more); more; at = next_field(at, end, &name, &more)) {
        size_t tried = 0, i = next;
        Raw raw = {at, 0};
        for (; tried < count; tried++, i = i + 1 < count ? i + 1 : 0)
            if (is_field(&name, names[i]))
                break;
        at = name.escaped ? NULL : skip_value(at, end, 1);
        if (at == NULL || tried == count)
            continue;
        raw.size = (size_t)(at - raw.start);
        if (!note_value(found, row + i, raw, buffer))
            return NULL;
        next = i + 1 < count ? i + 1 : 0;
    }
    if (at)
        at = skip_space(at, end);
    if (at == NULL || !(at == end || *at == '\n') || has_long_number(line, at))
        return NULL;
    return at;
}

static void append_zeros(Bytes *bytes, size_t size)
{
    if (!make_room(bytes, size))
        return;
    memset(bytes->data + bytes->size, 0, size);
    bytes->size += size;
}

/* For each line a row of `count` values; rows of declined lines have none. */
static bool index_fields(const byte *buffer, size_t size, const Field *names, size_t count,
                         Index *found)
{
    const byte *at = buffer, *end = buffer + size;
    bool all_utf8 = is_utf8(buffer, size);
    for (int64_t line = 0; at < end; line++, at++) {
        size_t row = found->kinds.size;
        append_zeros(&found->kinds, count);
        append_zeros(&found->places, count * 2 * sizeof(uint32_t));
        if (!has_memory((Bytes *)found, sizeof *found / sizeof(Bytes)))
            return false;
        const byte *after = index_line(buffer, at, end, names, count, found, row);
        if (after == NULL || !(all_utf8 || is_utf8(at, (size_t)(after - at)))) {
            memset(found->kinds.data + row, 0, count);
            append_integer(&found->declined, line);
            after = memchr(at, '\n', (size_t)(end - at));
        }
        at = after ? after : end;
        append_integer(&found->ends, at - buffer);
    }
    return has_memory((Bytes *)found, sizeof *found / sizeof(Bytes));
}

/* ---- The hashes of values ---- */

static const byte IS_HEX[256] = {
    ['0'] = 1, ['1'] = 1, ['2'] = 1, ['3'] = 1, ['4'] = 1, ['5'] = 1, ['6'] = 1, ['7'] = 1,
    ['8'] = 1, ['9'] = 1, ['a'] = 1, ['b'] = 1, ['c'] = 1, ['d'] = 1, ['e'] = 1, ['f'] = 1,
};

/* Whether bytes are what the letters of a form stand for: `x` for a lowercase hexadecimal digit, `v`
 * for 8, 9, a or b, and any other for itself. */
static bool are_formed(const byte *text, const char *letters, size_t count)
{
    bool good = true;
    for (size_t i = 0; i < count && good; i++) {
        byte c = text[i];
        if (letters[i] == 'x')
            good = IS_HEX[c];
        else
            good = letters[i] == 'v' ? (c & 0xfe) == '8' || c == 'a' || c == 'b'
                                     : c == (byte)letters[i];
    }
    return good;
}

/* Whether a text has a form; in it, `+` stands for one or more digits. */
static bool has_form(const byte *text, size_t size, Field form)
{
    const byte *at = text, *end = text + size;
    for (size_t i = 0; i < form.size; i++) {
        if (form.name[i] == '+') {
            at = skip_digits(at, end);
            if (at == NULL)
                return false;
        } else if (at == end || !are_formed(at++, &form.name[i], 1)) {
            return false;
        }
    }
    return at == end;
}

/* How much of a text counts, given its form with a `|` in it: all of it, or what is before the `|`
 * if it has that form. No `+` is before the `|`. */
static size_t counted_size(const byte *text, size_t size, Field form)
{
    const char *bar = form.size ? memchr(form.name, '|', form.size) : NULL;
    size_t before = bar ? (size_t)(bar - form.name) : 0;
    if (bar == NULL || size < before || !are_formed(text, form.name, before) ||
        !has_form(text + before, size - before, (Field){bar + 1, form.size - before - 1}))
        return size;
    return before;
}

/* The text of a string value. */
static Text text_of(Raw raw)
{
    Text text = {raw.start + 1, raw.size - 2, false};
    text.escaped = memchr(text.start, '\\', text.size) != NULL;
    return text;
}

/* The hash of a value in valid UTF-8: of a text, of an integer after 0xFF, of the bytes of anything
 * else after 0xFE, so that equal ones are known; 0 for none, null, an empty text, or one with a
 * lone surrogate. */
static uint64_t hash_value(Raw raw, Field form, Bytes *room)
{
    RawKind kind = kind_of(raw);
    byte first = kind == IS_INTEGER ? 0xff : 0xfe;
    room->size = 0;
    if (kind == IS_ABSENT || kind == IS_NULL)
        return 0;
    Text text = {NULL, 0, false};
    if (kind == IS_STRING) {
        text = text_of(raw);
    } else {
        append(room, &first, 1);
        append(room, raw.start, raw.size);
    }
    if (text.escaped && !unescape(&text, room))
        return 0;
    if (room->size)
        text = (Text){room->data, room->size, false};
    size_t counted = kind == IS_STRING ? counted_size(text.start, text.size, form) : text.size;
    if (counted == 0)
        return 0;
    uint64_t hash = hash_bytes(text.start, counted);
    return hash ? hash : 1;
}

typedef struct {
    Bytes hashes; /* what is returned */
    Bytes room;   /* to work in */
} Hashes;

/* The hash of each value, given where it starts and stops (nowhere: there is none). Neighbours
 * are often equal, and are hashed once. */
static bool hash_values(const byte *buffer, const uint32_t *places, size_t count, Field form,
                        Hashes *found)
{
    Raw before = {NULL, 0};
    uint64_t hash = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t start = places[2 * i], stop = places[2 * i + 1];
        Raw raw = {start < stop ? buffer + start : NULL, stop - start};
        bool same = raw.start && before.start && raw.size == before.size &&
                    memcmp(raw.start, before.start, raw.size) == 0;
        if (!same)
            hash = hash_value(raw, form, &found->room);
        before = raw;
        append(&found->hashes, &hash, sizeof hash);
    }
    return has_memory((Bytes *)found, sizeof *found / sizeof(Bytes));
}

/* ---- The lines of a group -> a rollout ----
 *
 * A group is declined if its lines need a decision: if they disagree, repeat a response, or hold
 * anything that Python's Assembler does not copy as it is. */

enum { MOST_COLUMNS = 64, MOST_ALTERNATIVES = 16, MOST_RESPONSES = 4096 };

typedef struct {
    Field items[MOST_NAMES];
    size_t count;
} Fields;

/* What a format says of its lines; see `Plan` in Python. */
typedef struct {
    Fields roles;        /* the five below; an empty name is no field */
    Fields alternatives[MOST_ALTERNATIVES];
    size_t alternative_count;
    Fields counted;      /* a field and the form of its text of which only a part counts */
    Fields ids;          /* fields that tell the responses of a group apart, the best first */
    Fields ends;         /* of a field, a pattern of its value, how such a response ended; and so on */
    Fields taken;        /* names of fields of our own form */
    Fields leading;      /* fields of which the first value is the rollout's */
    Fields marks;        /* what the text of a chat template may hold */
    Fields shapes;       /* of prompts: what is before and after the words, and as JSON; and so on */
    bool answers;        /* whether a response may be a list of messages, and is decoded */
    bool unscored_cut_off;
} Plan;

enum { SCORE, RESPONSE, PROMPT, TRUTH, TOOLS };
enum { ENDED = '0', FAILED = '1', CUT_OFF = '2' };          /* codes in `ends` */
enum { NO_PROMPT = -1, TEXT_AS_IS = -2, LIST_AS_IS = -3 }; /* else the number of a shape */

/* A field of the lines of the group at hand. Of a value that is held elsewhere, the cell is empty. */
typedef struct {
    Text name;
    bool same; /* whether all lines have this field, with the same bytes */
} Held;

typedef struct {
    Bytes rollouts, sizes, scores, prompts, shapes, totals;      /* what is returned */
    Bytes columns, cells, ends, given, truth, turns, text, room; /* of a group, and room to work in */
    size_t count;                   /* lines of the group */
    int64_t shape, failed, cut_off; /* of the group */
} Assembly;

static inline bool is_same(Raw one, Raw other)
{
    return one.size == other.size && memcmp(one.start, other.start, one.size) == 0;
}

static inline bool is_raw(Raw raw, Field text)
{
    return raw.size == text.size && memcmp(raw.start, text.name, text.size) == 0;
}

static size_t column_count(const Assembly *a) { return a->columns.size / sizeof(Held); }

static Held *column_at(const Assembly *a, size_t column)
{
    return (Held *)(void *)a->columns.data + column;
}

/* The values of a column, one per line. */
static Raw *cells_of(const Assembly *a, size_t column)
{
    return (Raw *)(void *)a->cells.data + column * a->count;
}

/* The number of the column of a field; as many as there are columns if there is none. */
static size_t find_column(const Assembly *a, Field field)
{
    size_t column = 0, count = column_count(a);
    while (column < count && !is_field(&column_at(a, column)->name, field))
        column++;
    return field.size ? column : count;
}

static bool has_column(const Assembly *a, size_t column) { return column < column_count(a); }

static bool is_among(const Text *name, const Fields *fields)
{
    for (size_t i = 0; i < fields->count; i++)
        if (is_field(name, fields->items[i]))
            return true;
    return false;
}

/* Whether a name is written as Python would write it. */
static bool is_plain_name(const Text *name)
{
    if (name->escaped)
        return false;
    for (size_t i = 0; i < name->size; i++)
        if (name->start[i] < 0x20 || name->start[i] > 0x7e)
            return false;
    return true;
}

/* The number of the column of a name, which is added if it is new. `expected` is tried first. */
static size_t column_of(Assembly *a, const Text *name, size_t expected)
{
    Field field = {(const char *)name->start, name->size};
    if (has_column(a, expected) && is_field(&column_at(a, expected)->name, field))
        return expected;
    size_t column = 0, count = column_count(a);
    while (column < count && !is_field(&column_at(a, column)->name, field))
        column++;
    if (column == count) {
        Held added = {*name, false};
        append(&a->columns, &added, sizeof added);
        append_zeros(&a->cells, a->count * sizeof(Raw));
    }
    return column;
}

/* Puts the values of a line into their columns; false to decline. `last` is the line's end. */
static bool read_line(Assembly *a, size_t line, const byte *at, const byte *last, const byte *end)
{
    Text name;
    bool more;
    size_t expected = 0;
    at = skip_space(at, end);
    if (!starts_with(at, end, '{'))
        return false;
    for (at = first_field(at, end, &name, &more); more; at = next_field(at, end, &name, &more)) {
        Raw raw = {at, 0};
        size_t column = column_of(a, &name, expected);
        at = is_plain_name(&name) && column < MOST_COLUMNS ? skip_value(at, end, 1) : NULL;
        if (at == NULL || a->columns.failed || a->cells.failed)
            return false;
        raw.size = (size_t)(at - raw.start);
        Raw *cell = cells_of(a, column) + line;
        if (cell->start)
            return false;
        *cell = raw;
        expected = column + 1;
    }
    return at && skip_space(at, end) == last;
}

static void compare_columns(Assembly *a)
{
    for (size_t i = 0; i < column_count(a); i++) {
        Raw *cells = cells_of(a, i);
        bool same = cells[0].start != NULL;
        for (size_t line = 1; same && line < a->count; line++)
            same = cells[line].start && is_same(cells[line], cells[0]);
        column_at(a, i)->same = same;
    }
}

static void clear_column(Assembly *a, size_t column)
{
    memset(cells_of(a, column), 0, a->count * sizeof(Raw));
}

static void append_field(Bytes *bytes, Field text) { append(bytes, text.name, text.size); }

static void append_raw(Bytes *bytes, Raw raw) { append(bytes, raw.start, raw.size); }

#define APPEND(bytes, text) append(bytes, text, sizeof(text) - 1)

/* Appends text as JSON, as msgspec writes it. */
static void append_json(Bytes *to, const byte *text, size_t size)
{
    static const char LETTERS[] = "\b\f\n\r\t", NAMES[] = "bfnrt", DIGITS[] = "0123456789abcdef";
    size_t first = 0;
    for (size_t at = 0; at < size; at++) {
        byte c = text[at];
        if (c >= 0x20 && c != '"' && c != '\\')
            continue;
        append(to, text + first, at - first);
        first = at + 1;
        const char *letter = c ? strchr(LETTERS, c) : NULL;
        char escape[6] = {'\\', letter ? NAMES[letter - LETTERS] : (char)c};
        if (c < 0x20 && !letter) {
            memcpy(escape, "\\u00", 4);
            escape[4] = DIGITS[c >> 4];
            escape[5] = DIGITS[c & 15];
        }
        append(to, escape, c < 0x20 && !letter ? 6 : 2);
    }
    append(to, text + first, size - first);
}

/* Appends a string value, as msgspec would write its text; false if it has none. */
static bool append_string(Assembly *a, Raw raw, Bytes *to)
{
    Text text = text_of(raw);
    if (!text.escaped) {
        append_raw(to, raw);
        return true;
    }
    a->room.size = 0;
    if (!unescape(&text, &a->room))
        return false;
    APPEND(to, "\"");
    append_json(to, a->room.data, a->room.size);
    APPEND(to, "\"");
    return true;
}

/* -- the key -- */

/* The form of the texts of a field of which only a part counts. */
static Field form_of(const Plan *plan, Field place)
{
    const Text name = {(const byte *)place.name, place.size, false};
    for (size_t i = 0; i + 1 < plan->counted.count; i += 2)
        if (is_field(&name, plan->counted.items[i]))
            return plan->counted.items[i + 1];
    return (Field){"", 0};
}

/* Reads the part of a key that all lines share; false to decline. */
static bool read_key_part(const Assembly *a, const Plan *plan, Field place, size_t column,
                          Raw *part)
{
    Raw *cells = cells_of(a, column);
    Field form = form_of(plan, place);
    *part = cells[0];
    if (kind_of(cells[0]) == IS_INTEGER)
        return column_at(a, column)->same;
    for (size_t line = 0; line < a->count; line++) {
        if (kind_of(cells[line]) != IS_STRING)
            return false;
        Text text = text_of(cells[line]);
        size_t counted = counted_size(text.start, text.size, form);
        if (line == 0)
            part->size = counted + 2;
        if (text.escaped || counted + 2 != part->size ||
            memcmp(text.start, part->start + 1, counted) != 0)
            return false;
    }
    return true;
}

static void append_key_part(Bytes *to, Raw part, bool quoted)
{
    if (*part.start != '"') {
        append_raw(to, part);
        return;
    }
    append(to, "\\\"", quoted ? 2 : 0);
    append(to, part.start + 1, part.size - 2);
    append(to, "\\\"", quoted ? 2 : 0);
}

/* Writes a key of these places: a value, or a list of several as JSON text. */
static bool write_key_of(Assembly *a, const Plan *plan, const Fields *places)
{
    Raw part = {NULL, 0};
    bool several = places->count > 1;
    if (several)
        APPEND(&a->rollouts, "\"[");
    for (size_t i = 0; i < places->count; i++) {
        size_t column = find_column(a, places->items[i]);
        if (!read_key_part(a, plan, places->items[i], column, &part))
            return false;
        if (i)
            APPEND(&a->rollouts, ",");
        if (several) {
            append_key_part(&a->rollouts, part, true);
        } else if (*part.start == '"') {
            APPEND(&a->rollouts, "\"");
            append_key_part(&a->rollouts, part, false);
            APPEND(&a->rollouts, "\"");
        } else {
            append_raw(&a->rollouts, part);
        }
    }
    if (several)
        APPEND(&a->rollouts, "]\"");
    return true;
}

/* Whether the first line has these places; `*sure` is false where that takes a decision, and
 * `*by_prompt` says whether the prompt is one of them. */
static bool has_places(const Assembly *a, const Fields *places, const Fields *prompt, bool *sure,
                       bool *by_prompt)
{
    *sure = true;
    *by_prompt = false;
    for (size_t i = 0; i < places->count; i++) {
        size_t column = find_column(a, places->items[i]);
        Raw raw = has_column(a, column) ? cells_of(a, column)[0] : (Raw){NULL, 0};
        RawKind kind = kind_of(raw);
        if (kind == IS_ABSENT || kind == IS_NULL || (kind == IS_STRING && raw.size == 2))
            return false;
        bool is_prompt = is_among(&column_at(a, column)->name, prompt);
        *sure &= is_prompt || (kind != IS_LIST && kind != IS_OBJECT); /* which may be empty */
        *by_prompt |= is_prompt;
    }
    return true;
}

/* Writes the key of the group: null if the prompt is part of it; false to decline. */
static bool write_key(Assembly *a, const Plan *plan)
{
    const Fields prompt = {{plan->roles.items[PROMPT]}, 1};
    for (size_t i = 0; i < plan->alternative_count; i++) {
        const Fields *places = &plan->alternatives[i];
        bool sure, by_prompt;
        if (!has_places(a, places, &prompt, &sure, &by_prompt))
            continue;
        if (!sure || !by_prompt)
            return sure && write_key_of(a, plan, places);
        for (size_t part = 0; part < places->count; part++)
            if (!column_at(a, find_column(a, places->items[part]))->same)
                return false;
        APPEND(&a->rollouts, "null");
        return true;
    }
    return false;
}

/* -- the prompt -- */

/* Whether a mark of a template touches the bytes `first` to `last` of a text. */
static bool touches_mark(const Bytes *text, size_t first, size_t last, const Fields *marks)
{
    for (size_t i = 0; i < marks->count; i++) {
        const char start = *marks->items[i].name;
        bool seen = false; /* marks that start alike are looked for together */
        for (size_t j = 0; j < i; j++)
            seen |= *marks->items[j].name == start;
        if (seen)
            continue;
        size_t longest = 0;
        for (size_t j = i; j < marks->count; j++)
            if (marks->items[j].size > longest)
                longest = marks->items[j].size;
        const byte *at = text->data + (first > longest ? first - longest : 0);
        for (const byte *end = text->data + last; at < end; at++) {
            at = memchr(at, start, (size_t)(end - at));
            if (at == NULL)
                break;
            for (size_t j = i; j < marks->count; j++) {
                Field mark = marks->items[j];
                size_t place = (size_t)(at - text->data);
                if (mark.size <= text->size - place && place + mark.size > first &&
                    memcmp(at, mark.name, mark.size) == 0)
                    return true;
            }
        }
    }
    return false;
}

/* Whether some character is surely not white space. */
static bool has_words(const byte *at, size_t size)
{
    for (const byte *end = at + size; at < end; at++)
        if ((*at > ' ' && *at < 0x7f) || (*at >= 0xc3 && *at != 0xe1 && *at != 0xe2 && *at != 0xe3))
            return true;
    return false;
}

static bool has_around(const Bytes *text, Field before, Field after)
{
    return text->size >= before.size + after.size &&
           memcmp(text->data, before.name, before.size) == 0 &&
           memcmp(text->data + text->size - after.size, after.name, after.size) == 0;
}

/* Writes the messages of a text of a known shape; false if it has none. */
static bool write_shaped(Assembly *a, const Plan *plan)
{
    for (size_t i = 0; i + 3 < plan->shapes.count; i += 4) {
        const Field *shape = &plan->shapes.items[i];
        if (!has_around(&a->text, shape[0], shape[1]))
            continue;
        size_t first = shape[0].size, last = a->text.size - shape[1].size;
        if (!has_words(a->text.data + first, last - first) ||
            touches_mark(&a->text, first, last, &plan->marks))
            continue;
        append_field(&a->rollouts, shape[2]);
        append_json(&a->rollouts, a->text.data + first, last - first);
        append_field(&a->rollouts, shape[3]);
        a->shape = (int64_t)i / 4;
        return true;
    }
    return false;
}

/* Whether a list of messages needs no change. */
static bool is_settled(Assembly *a, const Plan *plan, Raw raw)
{
    bool words = false;
    size_t count;
    if (read_turns(raw.start, raw.start + raw.size, false, &a->turns) == NULL ||
        (count = turn_count(&a->turns)) == 0)
        return false;
    for (size_t i = 0; i < count; i++) {
        Turn turn = turn_of(&a->turns, i);
        if (turn.role.escaped || (i == count - 1 && is_said_by(&turn, FIELD("assistant"))))
            return false;
        if (turn.content.start == NULL)
            continue;
        a->text.size = 0;
        if (!unescape(&turn.content, &a->text) ||
            touches_mark(&a->text, 0, a->text.size, &plan->marks))
            return false;
        words |= has_words(a->text.data, a->text.size);
    }
    return words;
}

/* Writes the prompt, and takes it out of its column if it is written as it is. */
static bool write_prompt(Assembly *a, const Plan *plan)
{
    a->shape = NO_PROMPT;
    if (plan->roles.items[PROMPT].size == 0) {
        APPEND(&a->rollouts, "null");
        return true;
    }
    size_t column = find_column(a, plan->roles.items[PROMPT]);
    if (!has_column(a, column) || !column_at(a, column)->same)
        return false;
    Raw raw = cells_of(a, column)[0];
    if (kind_of(raw) == IS_STRING) {
        Text text = text_of(raw);
        a->text.size = 0;
        if (!unescape(&text, &a->text))
            return false;
        if (write_shaped(a, plan))
            return true;
        if (!has_words(a->text.data, a->text.size) ||
            touches_mark(&a->text, 0, a->text.size, &plan->marks))
            return false;
        a->shape = TEXT_AS_IS;
    } else {
        if (kind_of(raw) != IS_LIST || !is_settled(a, plan, raw))
            return false;
        a->shape = LIST_AS_IS;
    }
    append_raw(&a->rollouts, raw);
    clear_column(a, column);
    return true;
}

/* -- the responses -- */

/* Writes the message of a response that may be a list of messages: of its only one. */
static bool write_answer(Assembly *a, Raw raw)
{
    Turn turn;
    bool more;
    const byte *end = raw.start ? raw.start + raw.size : NULL;
    switch (kind_of(raw)) {
    case IS_ABSENT: case IS_NULL:
        APPEND(&a->rollouts, "{\"content\":null}");
        return true;
    case IS_STRING:
        APPEND(&a->rollouts, "{\"content\":");
        if (!append_string(a, raw, &a->rollouts))
            return false;
        APPEND(&a->rollouts, "}");
        return true;
    case IS_LIST: {
        const byte *start = first_item(raw.start, end, &more);
        const byte *after = more ? read_turn(start, end, false, &turn) : NULL;
        if (after == NULL || !is_said_by(&turn, FIELD("assistant")) || turn.content.start == NULL ||
            next_item(after, end, &more) != end || more)
            return false;
        append(&a->rollouts, start, (size_t)(after - start));
        return true;
    }
    default:
        return false;
    }
}

/* Writes the choices, and takes the responses out of their column. */
static bool write_choices(Assembly *a, const Plan *plan)
{
    size_t column = find_column(a, plan->roles.items[RESPONSE]);
    for (size_t line = 0; line < a->count; line++) {
        Raw raw = has_column(a, column) ? cells_of(a, column)[line] : (Raw){NULL, 0};
        append(&a->rollouts, ",{\"message\":", line ? 12 : 0);
        if (line == 0)
            APPEND(&a->rollouts, "{\"message\":");
        if (plan->answers) {
            if (!write_answer(a, raw))
                return false;
        } else {
            APPEND(&a->rollouts, "{\"content\":");
            if (raw.start)
                append_raw(&a->rollouts, raw);
            else
                APPEND(&a->rollouts, "null");
            APPEND(&a->rollouts, "}");
        }
        APPEND(&a->rollouts, "}");
    }
    if (has_column(a, column))
        clear_column(a, column);
    return true;
}

/* -- the scores -- */

static bool fits(Raw raw, Field pattern)
{
    size_t size = pattern.size - 1;
    if (pattern.name[size] != '*')
        return is_raw(raw, pattern);
    return raw.size >= size && memcmp(raw.start, pattern.name, size) == 0;
}

/* How a value says that its response ended; 0 to decline. */
static char end_of(const Plan *plan, const Text *name, Raw raw)
{
    for (size_t i = 0; i + 2 < plan->ends.count; i += 3) {
        const Field *rule = &plan->ends.items[i];
        if (!is_field(name, rule[0]) || !fits(raw, rule[1]))
            continue;
        /* A text with escapes may be one that another rule names. */
        bool sure = *rule[2].name == FAILED || memchr(raw.start, '\\', raw.size) == NULL;
        return sure ? *rule[2].name : 0;
    }
    return 0;
}

/* Notes how each response ended; false to decline. */
static bool read_ends(Assembly *a, const Plan *plan)
{
    a->ends.size = 0;
    a->failed = a->cut_off = 0;
    append_zeros(&a->ends, a->count);
    if (a->ends.failed)
        return false;
    memset(a->ends.data, ENDED, a->count);
    for (size_t i = 0; i < column_count(a) && plan->ends.count; i++) {
        Held *column = column_at(a, i);
        bool known = false;
        for (size_t rule = 0; rule < plan->ends.count; rule += 3)
            known |= is_field(&column->name, plan->ends.items[rule]);
        for (size_t line = 0; known && line < a->count; line++) {
            Raw raw = cells_of(a, i)[line];
            char code = raw.start ? end_of(plan, &column->name, raw) : ENDED;
            if (code == 0)
                return false;
            if (a->ends.data[line] != FAILED && code != ENDED)
                a->ends.data[line] = (byte)code;
        }
    }
    for (size_t line = 0; line < a->count; line++) {
        a->failed += a->ends.data[line] == FAILED;
        a->cut_off += a->ends.data[line] == CUT_OFF;
    }
    return true;
}

/* Reads the scores, notes how they are written, and takes them out of their column unless they do
 * not count; false to decline. */
static bool read_scores(Assembly *a, const Plan *plan)
{
    size_t column = find_column(a, plan->roles.items[SCORE]);
    a->given.size = 0;
    if (!has_column(a, column) || !read_ends(a, plan))
        return false;
    for (size_t line = 0; line < a->count; line++) {
        byte end = a->ends.data[line];
        Raw *cell = cells_of(a, column) + line, raw = *cell;
        double score = NAN;
        if (raw.start == NULL || read_score(raw.start, raw.start + raw.size, &score) == NULL)
            return false;
        if (end == FAILED || (end == CUT_OFF && plan->unscored_cut_off)) {
            raw = (Raw){(const byte *)"null", 4};
            score = NAN;
        } else {
            *cell = (Raw){NULL, 0};
        }
        append(&a->given, &raw, sizeof raw);
        append(&a->scores, &score, sizeof score);
    }
    return !a->given.failed && !a->scores.failed;
}

/* -- the other fields -- */

/* A column's first value that is not held elsewhere; `*same` says whether all lines have it. */
static Raw first_value(const Assembly *a, size_t column, bool *same)
{
    Raw *cells = cells_of(a, column), first = {NULL, 0};
    *same = column_at(a, column)->same && cells[0].start;
    for (size_t line = 0; line < a->count; line++) {
        if (cells[line].start == NULL)
            *same = false;
        else if (first.start == NULL)
            first = cells[line];
    }
    return first;
}

static bool is_shared(const Plan *plan, const Text *name, bool same)
{
    return is_among(name, &plan->leading) || (same && !is_among(name, &plan->taken));
}

/* Appends `,"name":`. */
static void append_name(Bytes *to, const Text *name)
{
    APPEND(to, ",\"");
    append(to, name->start, name->size);
    APPEND(to, "\":");
}

/* Finds the columns that go into the reward entries, `*count` of them; false to decline. */
static bool find_own(const Assembly *a, const Plan *plan, size_t *own, size_t *count)
{
    *count = 0;
    for (size_t i = 0; i < column_count(a); i++) {
        bool same;
        const Text *name = &column_at(a, i)->name;
        Raw first = first_value(a, i, &same);
        if (first.start == NULL || (same && is_shared(plan, name, same)))
            continue;
        if (is_field(name, FIELD("score")) && has_column(a, find_column(a, FIELD("source_score"))))
            return false;
        own[(*count)++] = i;
    }
    return true;
}

/* Writes the reward entries of the lines, with the fields that are not shared; false to decline. */
static bool write_reward(Assembly *a, const Plan *plan)
{
    static const Text SOURCE_SCORE = {(const byte *)"source_score", 12, false};
    size_t own[MOST_COLUMNS], count;
    if (!find_own(a, plan, own, &count))
        return false;
    for (size_t line = 0; line < a->count; line++) {
        append(&a->rollouts, ",", line ? 1 : 0);
        APPEND(&a->rollouts, "{\"score\":");
        append_raw(&a->rollouts, ((Raw *)(void *)a->given.data)[line]);
        for (size_t i = 0; i < count; i++) {
            const Text *name = &column_at(a, own[i])->name;
            Raw value = cells_of(a, own[i])[line];
            if (value.start == NULL)
                continue;
            append_name(&a->rollouts, is_field(name, FIELD("score")) ? &SOURCE_SCORE : name);
            append_raw(&a->rollouts, value);
        }
        APPEND(&a->rollouts, "}");
    }
    return true;
}

/* Writes the ground truth, and takes it out of its column; false to decline. */
static bool write_truth(Assembly *a, const Plan *plan)
{
    size_t column = find_column(a, plan->roles.items[TRUTH]);
    Raw raw = {(const byte *)"null", 4};
    if (has_column(a, column)) {
        if (!column_at(a, column)->same)
            return false;
        raw = cells_of(a, column)[0];
        if (kind_of(raw) != IS_NULL)
            clear_column(a, column);
    }
    append_raw(&a->truth, raw);
    return true;
}

/* Writes the fields that all responses share. */
static void write_shared(Assembly *a, const Plan *plan)
{
    for (size_t i = 0; i < column_count(a); i++) {
        bool same;
        const Text *name = &column_at(a, i)->name;
        Raw first = first_value(a, i, &same);
        if (first.start == NULL || !is_shared(plan, name, same))
            continue;
        append_name(&a->rollouts, name);
        append_raw(&a->rollouts, first);
    }
}

/* -- whole rollouts -- */

static bool has_tools(const Assembly *a, const Plan *plan)
{
    size_t column = find_column(a, plan->roles.items[TOOLS]);
    if (!has_column(a, column))
        return false;
    Raw raw = cells_of(a, column)[0];
    return !column_at(a, column)->same ||
           !(kind_of(raw) == IS_NULL || is_raw(raw, FIELD("[]")));
}

/* Whether two lines may be of one response: if they have the same id, or none where others do. */
static bool may_repeat(const Assembly *a, const Plan *plan)
{
    size_t column = column_count(a);
    for (size_t i = 0; i < plan->ids.count && !has_column(a, column); i++)
        column = find_column(a, plan->ids.items[i]);
    if (!has_column(a, column) || a->count == 1)
        return false;
    Raw *ids = cells_of(a, column);
    for (size_t i = 0; i < a->count; i++)
        for (size_t j = 0; j < i; j++)
            if (ids[i].start == NULL || ids[j].start == NULL || is_same(ids[i], ids[j]))
                return true;
    return false;
}

/* Writes the prompt and appends its hash; false to decline. */
static bool write_hashed_prompt(Assembly *a, const Plan *plan)
{
    uint64_t hash = 0;
    size_t before = a->rollouts.size;
    if (!write_prompt(a, plan) || a->rollouts.failed)
        return false;
    const byte *end = a->rollouts.data + a->rollouts.size;
    if (read_turns(a->rollouts.data + before, end, false, &a->turns) == NULL ||
        !hash_turns(&a->turns, &a->text, &hash))
        return false;
    append(&a->prompts, &hash, sizeof hash);
    return true;
}

/* Writes the rollout of a group whose lines were read; false to decline. Everything is done in the
 * order of Python's Assembler, in which values are taken out of their columns. */
static bool write_rollout(Assembly *a, const Plan *plan)
{
    compare_columns(a);
    APPEND(&a->rollouts, "{\"key\":");
    if (may_repeat(a, plan) || has_tools(a, plan) || !write_key(a, plan))
        return false;
    APPEND(&a->rollouts, ",\"prompt\":");
    if (!write_hashed_prompt(a, plan))
        return false;
    a->truth.size = 0;
    if (!write_truth(a, plan) || !read_scores(a, plan))
        return false;
    APPEND(&a->rollouts, ",\"response\":{\"choices\":[");
    if (!write_choices(a, plan))
        return false;
    APPEND(&a->rollouts, "]},\"reward\":[");
    if (!write_reward(a, plan))
        return false;
    APPEND(&a->rollouts, "],\"ground_truth\":");
    append(&a->rollouts, a->truth.data, a->truth.size);
    write_shared(a, plan);
    APPEND(&a->rollouts, "}\n");
    return true;
}

typedef struct {
    const byte *buffer, *end;
    const int64_t *starts, *lengths;
} Lines;

static bool assemble_group(Assembly *a, const Plan *plan, const Lines *lines, size_t first)
{
    a->columns.size = a->cells.size = 0;
    for (size_t i = 0; i < a->count; i++) {
        const byte *at = lines->buffer + lines->starts[first + i];
        if (!read_line(a, i, at, at + lines->lengths[first + i], lines->end))
            return false;
    }
    return a->count <= MOST_RESPONSES && write_rollout(a, plan);
}

/* Writes the rollout of each group, of so many lines each. Declined ones have no bytes. */
static bool assemble(const Lines *lines, const int64_t *counts, size_t groups, const Plan *plan,
                     Assembly *a)
{
    size_t first = 0;
    int64_t failed = 0, cut_off = 0;
    for (size_t group = 0; group < groups; group++) {
        size_t rollouts = a->rollouts.size, scores = a->scores.size, prompts = a->prompts.size;
        a->count = (size_t)counts[group];
        if (assemble_group(a, plan, lines, first)) {
            failed += a->failed;
            cut_off += a->cut_off;
            append_integer(&a->shapes, a->shape);
        } else {
            a->rollouts.size = rollouts;
            a->scores.size = scores;
            a->prompts.size = prompts;
        }
        append_integer(&a->sizes, (int64_t)(a->rollouts.size - rollouts));
        first += a->count;
    }
    append_integer(&a->totals, failed);
    append_integer(&a->totals, cut_off);
    return has_memory(&a->rollouts, offsetof(Assembly, count) / sizeof(Bytes));
}

/* ---- Lines whose fields get other names ---- */

/* What is known of a field, as Python says it. */
enum {
    IS_PROMPT = 'p',    /* a text with words that holds no mark */
    IS_RESPONSES = 'r', /* a list of texts */
    IS_REWARD = 's',    /* a list of as many scores */
    IS_TRUTH = 't',     /* anything but null; it may be absent */
    IS_KEY = 'k',       /* a text without escapes, or an integer; it may be absent */
    IS_REQUIRED = 'm',
    IS_EMPTY = 'n',     /* null, or absent */
    IS_IN_THE_WAY = 'a' /* a line that has it is declined */
};

typedef struct {
    Fields names, new_names, marks;
    const char *roles; /* one for each name */
} Renaming;

typedef struct {
    Bytes lines, sizes, ends; /* a size of 0 for a line that is declined */
    Bytes text;               /* a prompt without escapes */
} Renamed;

/* What was found in a line: the roles seen, how many responses and scores, and the key. */
typedef struct {
    uint64_t seen;
    int64_t responses, scores;
    Raw key;
} Found;

static const byte *count_texts(const byte *at, const byte *end, int64_t *count)
{
    Text text;
    bool more;
    *count = 0;
    if (!starts_with(at, end, '['))
        return NULL;
    for (at = first_item(at, end, &more); more; at = next_item(at, end, &more)) {
        at = starts_with(at, end, '"') ? read_string(at + 1, end, &text) : NULL;
        ++*count;
    }
    return at;
}

static const byte *count_scores(const byte *at, const byte *end, int64_t *count)
{
    bool more;
    *count = 0;
    if (!starts_with(at, end, '['))
        return NULL;
    for (at = first_item(at, end, &more); more; at = next_item(at, end, &more)) {
        bool other = at >= end || *at == '"' || *at == '[' || *at == '{';
        at = other ? NULL : skip_value(at, end, 2);
        ++*count;
    }
    return at;
}

/* Reads a prompt; NULL if it is no text, has no words, or holds a mark. */
static const byte *read_plain_prompt(const byte *at, const byte *end, const Fields *marks,
                                     Bytes *room)
{
    Text text;
    at = starts_with(at, end, '"') ? read_string(at + 1, end, &text) : NULL;
    room->size = 0;
    if (at == NULL || !unescape(&text, room) || !has_words(room->data, room->size))
        return NULL;
    for (size_t i = 0; i < marks->count; i++) {
        Field mark = marks->items[i];
        if (holds(room->data, room->size, (const byte *)mark.name, mark.size))
            return NULL;
    }
    return at;
}

/* Reads the value of a field that has a role; NULL to decline the line. */
static const byte *read_role(const byte *at, const byte *end, char role, const Renaming *renaming,
                             Renamed *to, Found *found)
{
    const byte *start = at;
    switch (role) {
    case IS_PROMPT: return read_plain_prompt(at, end, &renaming->marks, &to->text);
    case IS_RESPONSES: return count_texts(at, end, &found->responses);
    case IS_REWARD: return count_scores(at, end, &found->scores);
    case IS_IN_THE_WAY: return NULL;
    default: at = skip_value(at, end, 1);
    }
    if (at == NULL || (role == IS_TRUTH && *start == 'n') || (role == IS_EMPTY && *start != 'n'))
        return NULL;
    if (role == IS_KEY) {
        found->key = (Raw){start, (size_t)(at - start)};
        bool plain = *start == '"' && found->key.size > 2 && !text_of(found->key).escaped;
        if (!plain && kind_of(found->key) != IS_INTEGER)
            return NULL;
    }
    return at;
}

/* Which of the names a field has; their number if none. `next` is where to look first. */
static size_t find_name(const Text *name, const Fields *names, size_t next)
{
    size_t count = names->count;
    for (size_t tried = 0, i = next; tried < count; tried++, i = i + 1 < count ? i + 1 : 0)
        if (is_field(name, names->items[i]))
            return i;
    return count;
}

/* Notes the name of a field; false if it is there already, or if there are too many. */
static bool is_new(const Text *name, Fields *names)
{
    Field field = {(const char *)name->start, name->size};
    for (size_t i = 0; i < names->count; i++)
        if (is_field(name, names->items[i]) || names->items[i].size + field.size == 0)
            return false;
    if (names->count == MOST_NAMES)
        return false;
    names->items[names->count++] = field;
    return true;
}

/* Whether a line has all that it must have. */
static bool is_complete(const Renaming *renaming, const Found *found)
{
    bool with_responses = false;
    for (size_t i = 0; i < renaming->names.count; i++) {
        char role = renaming->roles[i];
        with_responses |= role == IS_RESPONSES;
        bool needed = role == IS_PROMPT || role == IS_RESPONSES || role == IS_REWARD;
        if ((needed || role == IS_REQUIRED) && !(found->seen >> i & 1))
            return false;
    }
    return !with_responses || found->responses == found->scores;
}

/* Writes a line with other names, as Python writes an object of values that keep their bytes; the
 * place after it, or NULL to decline it. */
static const byte *rename_line(const byte *at, const byte *end, const Renaming *renaming,
                               Renamed *to)
{
    const byte *line = at;
    Found found = {0, 0, 0, {NULL, 0}};
    Fields others = {.count = 0};
    Text name;
    bool more;
    size_t next = 0, start = to->lines.size;
    at = skip_space(at, end);
    if (!starts_with(at, end, '{'))
        return NULL;
    for (at = first_field(at, end, &name, &more); more; at = next_field(at, end, &name, &more)) {
        size_t i = find_name(&name, &renaming->names, next);
        Raw value = {at, 0};
        if (!is_plain_name(&name) || !is_new(&name, &others)) {
            at = NULL;
        } else if (i == renaming->names.count) {
            at = skip_value(at, end, 1);
        } else {
            at = read_role(at, end, renaming->roles[i], renaming, to, &found);
            found.seen |= (uint64_t)1 << i;
            next = i + 1 < renaming->names.count ? i + 1 : 0;
            if (renaming->new_names.items[i].size) {
                Field new_name = renaming->new_names.items[i];
                name = (Text){(const byte *)new_name.name, new_name.size, false};
            }
        }
        if (at == NULL)
            continue;
        value.size = (size_t)(at - value.start);
        append_name(&to->lines, &name);
        append_raw(&to->lines, value);
    }
    if (at)
        at = skip_space(at, end);
    if (at == NULL || !(at == end || *at == '\n') || has_long_number(line, at) ||
        !is_complete(renaming, &found))
        return NULL;
    if (found.key.start) {
        APPEND(&to->lines, ",\"key\":");
        append_raw(&to->lines, found.key);
    }
    APPEND(&to->lines, "}\n");
    if (!to->lines.failed)
        to->lines.data[start] = '{'; /* in place of the first comma */
    return at;
}

static bool rename_lines(const byte *buffer, size_t size, const Renaming *renaming, Renamed *to)
{
    const byte *at = buffer, *end = buffer + size;
    bool all_utf8 = is_utf8(buffer, size);
    for (; at < end; at++) {
        size_t before = to->lines.size;
        const byte *after = rename_line(at, end, renaming, to);
        if (after == NULL || !(all_utf8 || is_utf8(at, (size_t)(after - at)))) {
            to->lines.size = before;
            after = memchr(at, '\n', (size_t)(end - at));
        }
        if (!has_memory((Bytes *)to, sizeof *to / sizeof(Bytes)))
            return false;
        at = after ? after : end;
        append_integer(&to->sizes, (int64_t)(to->lines.size - before));
        append_integer(&to->ends, at - buffer);
    }
    return has_memory((Bytes *)to, sizeof *to / sizeof(Bytes));
}

/* ---- Arrow arrays -> lines of JSON, so that rows of parquet are read like any other lines. The
 * bytes are those that Python's json writes without spaces and without escapes of what is not ASCII.
 * Strings that are no UTF-8 keep their bytes. ---- */

/* Arrow's C data interface (https://arrow.apache.org/docs/format/CDataInterface.html). */
struct ArrowSchema {
    const char *format, *name, *metadata;
    int64_t flags, n_children;
    struct ArrowSchema **children, *dictionary;
    void (*release)(struct ArrowSchema *);
    void *private_data;
};

struct ArrowArray {
    int64_t length, null_count, offset, n_buffers, n_children;
    const void **buffers;
    struct ArrowArray **children, *dictionary;
    void (*release)(struct ArrowArray *);
    void *private_data;
};

/* Writes the shortest text of a number that reads as it, as Python's repr has it; false for want of
 * memory. */
typedef bool (*NumberText)(void *context, double value, char text[32]);

#if defined(HAS_SSE2)
#define MARKS_OF marks_by_sse2
#elif defined(HAS_NEON)
#define MARKS_OF marks_by_neon
#else
#define MARKS_OF marks_by_words
#endif

typedef struct {
    Bytes lines;
    Bytes ends; /* of each line, before its newline, int64 */
    NumberText number_text;
    void *context;
} Encoder;

static void encode_integer(Bytes *out, bool negative, uint64_t value)
{
    char digits[20];
    int at = 20;
    do
        digits[--at] = (char)('0' + value % 10);
    while ((value /= 10) != 0);
    if (negative)
        append(out, "-", 1);
    append(out, digits + at, (size_t)(20 - at));
}

static void encode_signed(Bytes *out, int64_t value)
{
    encode_integer(out, value < 0, value < 0 ? -(uint64_t)value : (uint64_t)value);
}

/* The sign, the digits of `all` with a point before the last `places`, one digit at least on either
 * side of it. */
static void encode_decimal(Bytes *out, bool negative, uint64_t all, int places)
{
    char text[40], *at = text + sizeof text;
    if (places == 0)
        *--at = '0';
    for (int i = 0; i < places; i++, all /= 10)
        *--at = (char)('0' + all % 10);
    *--at = '.';
    do
        *--at = (char)('0' + all % 10);
    while ((all /= 10) != 0);
    if (negative)
        *--at = '-';
    append(out, at, (size_t)(text + sizeof text - at));
}

enum { FEW_PLACES = 4 };
static const uint64_t POWERS[] = {1, 10, 100, 1000, 10000};

/* Writes a number with few places after the point: so few digits are the shortest where they read as
 * the number, and n / 10^k is rounded as a reader rounds it. */
static bool encode_few_places(Bytes *out, double value)
{
    double size = fabs(value);
    for (int places = 0; places <= FEW_PLACES; places++) {
        double power = (double)POWERS[places];
        uint64_t all = (uint64_t)(size * power + 0.5);
        if ((double)all / power == size) {
            encode_decimal(out, signbit(value), all, places);
            return true;
        }
    }
    return false;
}

#ifdef __SIZEOF_INT128__
typedef unsigned __int128 Wide;

/* Writes the shortest digits that read as a number, the nearest to it of those: all between its
 * halfway points to its neighbours read as it. Exact, as 2 m 5^k has 105 bits at most. Declines powers
 * of two, whose neighbours are not equally far, and where two texts are equally near. */
static bool encode_shortest(Bytes *out, double value)
{
    uint64_t bits, mantissa;
    memcpy(&bits, &value, sizeof bits);
    mantissa = bits & (((uint64_t)1 << 52) - 1);
    if (mantissa == 0)
        return false;
    mantissa |= (uint64_t)1 << 52;
    double size = fabs(value), scaled = size;
    int places = 0; /* with so many the number has 17 digits before the point, or 18 */
    for (; scaled < 1e16; places++)
        scaled *= 10;
    int shift = -((int)(bits >> 52 & 0x7ff) - 1075 + places - 1); /* of the bits after the point */
    Wide five = 1;
    for (int i = 0; i < places; i++)
        five *= 5;
    Wide middle = 2 * mantissa * five, below = middle - five, above = middle + five;
    if (places > 22 || shift < 1 || shift > 63)
        return false;
    Wide after_point = ((Wide)1 << shift) - 1, fraction = middle & after_point;
    bool even = (mantissa & 1) == 0; /* then the halfway points read as it, too */
    uint64_t low = (uint64_t)(below >> shift), high = (uint64_t)(above >> shift);
    if ((below & after_point) != 0 || !even)
        low++;
    if ((above & after_point) == 0 && !even)
        high--;
    uint64_t power = 1, digits = (uint64_t)(middle >> shift);
    for (; (low + 9) / 10 <= high / 10; power *= 10, places--) {
        low = (low + 9) / 10;
        high /= 10;
    }
    uint64_t rest = digits % power;
    digits /= power;
    /* Twice what is left, beside the power, both as bits after the point. */
    Wide twice = 2 * (((Wide)rest << shift) | fraction), whole = (Wide)power << shift;
    if (twice == whole)
        return false;
    digits += twice > whole;
    if (places < 0)
        return false;
    encode_decimal(out, signbit(value), digits, places);
    return true;
}
#else
static bool encode_shortest(Bytes *out, double value)
{
    (void)out;
    (void)value;
    return false;
}
#endif

/* Writes a number that Python writes without an exponent, if it can. */
static bool encode_plain_number(Bytes *out, double value)
{
    double size = fabs(value);
    if (!(size < 1e9) || (size < 1e-4 && size != 0))
        return false;
    return encode_few_places(out, value) || encode_shortest(out, value);
}

static void encode_number(Encoder *e, double value)
{
    char text[32];
    if (isnan(value))
        append(&e->lines, "NaN", 3);
    else if (isinf(value))
        append(&e->lines, value < 0 ? "-Infinity" : "Infinity", value < 0 ? 9 : 8);
    else if (!encode_plain_number(&e->lines, value)) {
        if (e->number_text(e->context, value, text))
            append(&e->lines, text, strlen(text));
        else
            e->lines.failed = true;
    }
}

/* Writes what stands for a byte that a string cannot hold as it is. */
static byte *write_escape(byte *to, byte c)
{
    static const char HEX[] = "0123456789abcdef";
    *to++ = '\\';
    switch (c) {
    case '"': case '\\': *to++ = c; break;
    case '\n': *to++ = 'n'; break;
    case '\r': *to++ = 'r'; break;
    case '\t': *to++ = 't'; break;
    case '\b': *to++ = 'b'; break;
    case '\f': *to++ = 'f'; break;
    default:
        memcpy(to, "u00", 3);
        to[3] = (byte)HEX[c >> 4];
        to[4] = (byte)HEX[c & 15];
        to += 5;
    }
    return to;
}

static inline bool needs_escape(byte c) { return c < 0x20 || c == '"' || c == '\\'; }

static inline bool any_escape_in_8(const byte *at)
{
    const uint64_t ones = 0x0101010101010101;
    uint64_t eight;
    memcpy(&eight, at, sizeof eight);
    return (zeros_in_8(eight ^ ones * '"') | zeros_in_8(eight & ones * 0xe0) |
            zeros_in_8(eight ^ ones * '\\')) != 0;
}

static void encode_string(Bytes *out, const byte *at, size_t size)
{
    enum { PART = 4096 }; /* for which there is room, all of it escaped */
    const byte *end = at + size;
    append(out, "\"", 1);
    while (at < end) {
        const byte *stop = end - at > PART ? at + PART : end;
        if (!make_room(out, 6 * PART + 64))
            return;
        byte *to = out->data + out->size;
        while (at < stop) {
            if (stop - at >= 64) {
                Marks marks = MARKS_OF(at);
                uint64_t found = marks.stops | marks.backslashes;
                memcpy(to, at, 64);
                if (found == 0) {
                    at += 64;
                    to += 64;
                    continue;
                }
                int clean = lowest_bit(found);
                at += clean;
                to += clean;
                do { /* what is near is written from the same look */
                    to = write_escape(to, *at++);
                    found &= found - 1;
                    if (found == 0)
                        break;
                    int next = lowest_bit(found), gap = next - clean - 1;
                    memcpy(to, at, (size_t)gap);
                    at += gap;
                    to += gap;
                    clean = next;
                } while (true);
            } else if (stop - at >= 8 && !any_escape_in_8(at)) {
                memcpy(to, at, 8);
                at += 8;
                to += 8;
            } else if (needs_escape(*at))
                to = write_escape(to, *at++);
            else
                *to++ = *at++;
        }
        out->size = (size_t)(to - out->data);
    }
    append(out, "\"", 1);
}

typedef enum {
    NULLS, BOOLS, INT8, UINT8, INT16, UINT16, INT32, UINT32, INT64, UINT64, FLOAT, DOUBLE,
    STRINGS, LARGE_STRINGS, JSON_TEXTS, LISTS, LARGE_LISTS, STRUCTS, DICTIONARY, UNKNOWN,
} Layout;

/* The layout of a format string. JSON_TEXTS are large binary values: JSON that is written already. */
static Layout layout_of(const struct ArrowSchema *schema)
{
    static const struct { const char *format; Layout layout; } FORMATS[] = {
        {"n", NULLS}, {"b", BOOLS}, {"c", INT8}, {"C", UINT8}, {"s", INT16}, {"S", UINT16},
        {"i", INT32}, {"I", UINT32}, {"l", INT64}, {"L", UINT64}, {"f", FLOAT}, {"g", DOUBLE},
        {"u", STRINGS}, {"U", LARGE_STRINGS}, {"Z", JSON_TEXTS}, {"+l", LISTS},
        {"+L", LARGE_LISTS}, {"+s", STRUCTS},
    };
    if (schema->dictionary)
        return DICTIONARY;
    for (size_t i = 0; i < sizeof FORMATS / sizeof *FORMATS; i++)
        if (strcmp(schema->format, FORMATS[i].format) == 0)
            return FORMATS[i].layout;
    return UNKNOWN;
}

typedef struct Node {
    Layout layout, index; /* index: that of the indices of a dictionary */
    const struct ArrowArray *array;
    const byte *valid; /* NULL: all are */
    Bytes name;        /* as a field, with quotes and colon */
    size_t count;
    struct Node *children;
} Node;

static void free_node(Node *node)
{
    for (size_t i = 0; i < node->count; i++)
        free_node(&node->children[i]);
    free(node->children);
    free(node->name.data);
}

/* Whether the arrays are of layouts that can be written; `memory` becomes false without any. */
static bool open_node(Node *node, const struct ArrowSchema *schema, const struct ArrowArray *array,
                      int depth, bool *memory)
{
    const struct ArrowArray *const *arrays = (const struct ArrowArray *const *)array->children;
    const struct ArrowSchema *const *schemas = (const struct ArrowSchema *const *)schema->children;
    size_t count = (size_t)array->n_children;
    node->layout = layout_of(schema);
    node->array = array;
    if (node->layout == DICTIONARY) {
        struct ArrowSchema indices = *schema;
        indices.dictionary = NULL;
        node->index = layout_of(&indices);
        if (node->index < INT8 || node->index > UINT64)
            return false;
        arrays = (const struct ArrowArray *const *)&array->dictionary;
        schemas = (const struct ArrowSchema *const *)&schema->dictionary;
        count = 1;
    }
    if (node->layout == UNKNOWN || depth > DEEPEST || array->length < 0)
        return false;
    node->valid = node->layout == NULLS || array->n_buffers < 1 ? NULL : array->buffers[0];
    if (schema->name) {
        encode_string(&node->name, (const byte *)schema->name, strlen(schema->name));
        append(&node->name, ":", 1);
    }
    node->children = count ? REALLOCATE(NULL, count * sizeof *node->children) : NULL;
    if (node->name.failed || (count && node->children == NULL)) {
        *memory = false;
        return false;
    }
    if (count)
        memset(node->children, 0, count * sizeof *node->children);
    node->count = count;
    for (size_t i = 0; i < count; i++)
        if (!open_node(&node->children[i], schemas[i], arrays[i], depth + 1, memory))
            return false;
    return true;
}

static inline bool is_set(const byte *bits, int64_t at) { return bits[at >> 3] >> (at & 7) & 1; }

static inline bool is_valid(const Node *node, int64_t at)
{
    return node->layout != NULLS && (node->valid == NULL || is_set(node->valid, at));
}

/* The integer number `at` of an array. Values of uint64 beyond int64 keep their bits. */
static int64_t integer_at(Layout layout, const void *data, int64_t at)
{
    switch (layout) {
    case INT8: return ((const int8_t *)data)[at];
    case UINT8: return ((const uint8_t *)data)[at];
    case INT16: return ((const int16_t *)data)[at];
    case UINT16: return ((const uint16_t *)data)[at];
    case INT32: return ((const int32_t *)data)[at];
    case UINT32: return ((const uint32_t *)data)[at];
    default: return ((const int64_t *)data)[at];
    }
}

/* Where value `at` of strings or lists starts, or ends for at + 1. */
static inline int64_t offset_at(const Node *node, bool large, int64_t at)
{
    const void *offsets = node->array->buffers[1];
    return large ? ((const int64_t *)offsets)[at] : ((const int32_t *)offsets)[at];
}

static void encode_value(Encoder *e, const Node *node, int64_t at);

static void encode_fields(Encoder *e, const Node *node, int64_t at)
{
    append(&e->lines, "{", 1);
    for (size_t i = 0; i < node->count; i++) {
        const Node *child = &node->children[i];
        if (i > 0)
            append(&e->lines, ",", 1);
        append(&e->lines, child->name.data, child->name.size);
        encode_value(e, child, at + child->array->offset);
    }
    append(&e->lines, "}", 1);
}

static void encode_items(Encoder *e, const Node *node, int64_t first, int64_t after)
{
    const Node *items = &node->children[0];
    append(&e->lines, "[", 1);
    for (int64_t i = first; i < after; i++) {
        if (i > first)
            append(&e->lines, ",", 1);
        encode_value(e, items, i + items->array->offset);
    }
    append(&e->lines, "]", 1);
}

/* Writes the value at a place of the buffers, which counts the offset of the array. */
static void encode_value(Encoder *e, const Node *node, int64_t at)
{
    Bytes *out = &e->lines;
    const struct ArrowArray *array = node->array;
    bool large = node->layout != STRINGS && node->layout != LISTS;
    if (!is_valid(node, at)) {
        append(out, "null", 4);
        return;
    }
    switch (node->layout) {
    case BOOLS:
        if (is_set(array->buffers[1], at))
            append(out, "true", 4);
        else
            append(out, "false", 5);
        break;
    case FLOAT:
        encode_number(e, ((const float *)array->buffers[1])[at]);
        break;
    case DOUBLE:
        encode_number(e, ((const double *)array->buffers[1])[at]);
        break;
    case UINT64:
        encode_integer(out, false, ((const uint64_t *)array->buffers[1])[at]);
        break;
    case STRINGS: case LARGE_STRINGS: case JSON_TEXTS: {
        int64_t start = offset_at(node, large, at), end = offset_at(node, large, at + 1);
        const byte *text = (const byte *)array->buffers[2] + start;
        if (node->layout == JSON_TEXTS)
            append(out, text, (size_t)(end - start));
        else
            encode_string(out, text, (size_t)(end - start));
        break;
    }
    case LISTS: case LARGE_LISTS:
        encode_items(e, node, offset_at(node, large, at), offset_at(node, large, at + 1));
        break;
    case STRUCTS:
        encode_fields(e, node, at);
        break;
    case DICTIONARY: {
        const Node *values = &node->children[0];
        int64_t number = integer_at(node->index, array->buffers[1], at);
        encode_value(e, values, number + values->array->offset);
        break;
    }
    default:
        encode_signed(out, integer_at(node->layout, array->buffers[1], at));
    }
}

/* Writes rows `first` (inclusive) to `after` (exclusive), a line each. `*known` becomes false for
 * arrays of other layouts, of which nothing is written. */
static bool encode_rows(const struct ArrowSchema *schema, const struct ArrowArray *array,
                        int64_t first, int64_t after, Encoder *e, bool *known)
{
    Node top;
    bool memory = true;
    memset(&top, 0, sizeof top);
    *known = open_node(&top, schema, array, 0, &memory) && top.layout == STRUCTS;
    for (int64_t row = first; *known && row < after && !e->lines.failed; row++) {
        encode_fields(e, &top, row + array->offset);
        append_integer(&e->ends, (int64_t)e->lines.size);
        append(&e->lines, "\n", 1);
    }
    free_node(&top);
    return memory && has_memory(&e->lines, 2);
}

/* ---- Python ---- */

#ifndef WITHOUT_PYTHON

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#ifndef SOURCE
#define SOURCE "" /* the digest of this file, by which a stale build is known */
#endif

static PyObject *to_python(const Bytes *bytes)
{
    return PyByteArray_FromStringAndSize((const char *)bytes->data, (Py_ssize_t)bytes->size);
}

/* Returns these columns as a tuple of bytearrays, and frees all of `every`. NULL without memory. */
static PyObject *return_columns(bool good, Bytes *every, size_t count, size_t returned)
{
    PyObject *columns = good ? PyTuple_New((Py_ssize_t)returned) : PyErr_NoMemory();
    for (size_t i = 0; i < count; i++) {
        PyObject *column = columns && i < returned ? to_python(&every[i]) : NULL;
        free(every[i].data);
        if (columns && i < returned && (column == NULL ||
            PyTuple_SetItem(columns, (Py_ssize_t)i, column) < 0))
            Py_CLEAR(columns);
    }
    return columns;
}

/* The bytes of a bytearray or bytes; false if it is neither or has fewer than `size`. */
static bool buffer_of(PyObject *object, Py_ssize_t size, const byte **buffer)
{
    Py_ssize_t there = 0;
    if (PyByteArray_Check(object)) {
        *buffer = (const byte *)PyByteArray_AsString(object);
        there = PyByteArray_Size(object);
    } else if (PyBytes_Check(object)) {
        *buffer = (const byte *)PyBytes_AsString(object);
        there = PyBytes_Size(object);
    } else {
        PyErr_SetString(PyExc_TypeError, "the buffer is no bytearray and no bytes");
        return false;
    }
    if (size < 0 || size > there) {
        PyErr_SetString(PyExc_ValueError, "the buffer is smaller than its size");
        return false;
    }
    return true;
}

static PyObject *py_scan_scores(PyObject *self, PyObject *arguments)
{
    PyObject *object;
    Py_ssize_t size, score_size, key_size;
    const char *score, *key;
    const byte *buffer;
    Scores found;
    bool good;
    (void)self;
    if (!PyArg_ParseTuple(arguments, "Ony#y#:scan_scores", &object, &size, &score, &score_size,
                          &key, &key_size) ||
        !buffer_of(object, size, &buffer))
        return NULL;
    memset(&found, 0, sizeof found);
    Py_BEGIN_ALLOW_THREADS
    good = scan_scores(buffer, (size_t)size, (Field){score, (size_t)score_size},
                       (Field){key, (size_t)key_size}, &found);
    Py_END_ALLOW_THREADS
    return return_columns(good, (Bytes *)&found, sizeof found / sizeof(Bytes),
                          offsetof(Scores, turns) / sizeof(Bytes));
}

/* A tuple of the name and the parts of each field of extra_info; NULL without memory. */
static PyObject *own_columns(const Rows *rows)
{
    PyObject *list = PyList_New(0);
    for (size_t i = 0; list && i < rows->own_count; i++) {
        const Column *own = &rows->own[i];
        PyObject *column = Py_BuildValue("(NNNNN)", to_python(&rows->names[i]),
                                         to_python(&own->kinds), to_python(&own->ends),
                                         to_python(&own->data), to_python(&own->numbers));
        if (column == NULL || PyList_Append(list, column) < 0)
            Py_CLEAR(list);
        Py_XDECREF(column);
    }
    return list;
}

static PyObject *py_read_rows(PyObject *self, PyObject *arguments)
{
    PyObject *object, *own = NULL, *columns;
    Py_ssize_t size, sizes[7];
    const char *names[5], *seed, *marks;
    int best;
    const byte *buffer;
    (void)self;
    if (!PyArg_ParseTuple(arguments, "On(y#y#y#y#y#)py#y#:read_rows", &object, &size, &names[0],
                          &sizes[0], &names[1], &sizes[1], &names[2], &sizes[2], &names[3], &sizes[3],
                          &names[4], &sizes[4], &best, &seed, &sizes[5], &marks, &sizes[6]) ||
        !buffer_of(object, size, &buffer))
        return NULL;
    RowFields fields = {{names[0], (size_t)sizes[0]}, {names[1], (size_t)sizes[1]},
                        {names[2], (size_t)sizes[2]}, {names[3], (size_t)sizes[3]},
                        {names[4], (size_t)sizes[4]}, best, (const byte *)seed, (size_t)sizes[5],
                        (const byte *)marks, (size_t)sizes[6]};
    bool good;
    Rows *rows = calloc(1, sizeof *rows);
    if (rows == NULL)
        return PyErr_NoMemory();
    Py_BEGIN_ALLOW_THREADS
    good = read_rows(buffer, (size_t)size, &fields, rows);
    Py_END_ALLOW_THREADS
    own = good ? own_columns(rows) : NULL;
    good = good && own;
    columns = return_columns(good, (Bytes *)rows, ROW_BYTES, offsetof(Rows, own) / sizeof(Bytes));
    free(rows);
    if (columns == NULL) {
        Py_XDECREF(own);
        return NULL;
    }
    return Py_BuildValue("(NN)", columns, own);
}

static PyObject *py_hash64(PyObject *self, PyObject *object)
{
    const byte *buffer;
    Py_ssize_t size = PyObject_Size(object);
    (void)self;
    if (size < 0 || !buffer_of(object, size, &buffer))
        return NULL;
    return PyLong_FromUnsignedLongLong(hash_bytes(buffer, (size_t)size));
}

static PyObject *py_simd(PyObject *self, PyObject *arguments)
{
    const char *name = NULL;
    (void)self;
    if (!PyArg_ParseTuple(arguments, "|z:simd", &name))
        return NULL;
    if (name && !use_simd(name)) {
        PyErr_Format(PyExc_ValueError, "there is no %s here", name);
        return NULL;
    }
    return PyUnicode_FromString(simd.name);
}

/* The fields that a tuple of bytes names, at most `most`; -1 with an error set if it is none. */
static Py_ssize_t fields_of(PyObject *tuple, Field *fields, Py_ssize_t most)
{
    Py_ssize_t count = PyTuple_Size(tuple);
    if (count > most)
        PyErr_SetString(PyExc_ValueError, "too many names");
    for (Py_ssize_t i = 0; i < count && !PyErr_Occurred(); i++) {
        char *name;
        Py_ssize_t size;
        if (PyBytes_AsStringAndSize(PyTuple_GetItem(tuple, i), &name, &size) == 0)
            fields[i] = (Field){name, (size_t)size};
    }
    return PyErr_Occurred() ? -1 : count;
}

static PyObject *py_index_fields(PyObject *self, PyObject *arguments)
{
    PyObject *object, *tuple;
    Py_ssize_t size, count;
    const byte *buffer;
    Field names[MOST_NAMES];
    Index found;
    bool good;
    (void)self;
    if (!PyArg_ParseTuple(arguments, "OnO:index_fields", &object, &size, &tuple) ||
        !buffer_of(object, size, &buffer) || (count = fields_of(tuple, names, MOST_NAMES)) < 0)
        return NULL;
    if ((uint64_t)size > UINT32_MAX) {
        PyErr_SetString(PyExc_ValueError, "the buffer has 4 GiB or more");
        return NULL;
    }
    memset(&found, 0, sizeof found);
    Py_BEGIN_ALLOW_THREADS
    good = index_fields(buffer, (size_t)size, names, (size_t)count, &found);
    Py_END_ALLOW_THREADS
    return return_columns(good, (Bytes *)&found, sizeof found / sizeof(Bytes), 4);
}

static PyObject *py_hash_values(PyObject *self, PyObject *arguments)
{
    PyObject *object;
    Py_ssize_t size, places_size, form_size;
    const char *places, *form;
    const byte *buffer;
    Hashes found;
    bool good;
    (void)self;
    if (!PyArg_ParseTuple(arguments, "Ony#y#:hash_values", &object, &size, &places, &places_size,
                          &form, &form_size) ||
        !buffer_of(object, size, &buffer))
        return NULL;
    memset(&found, 0, sizeof found);
    Py_BEGIN_ALLOW_THREADS
    good = hash_values(buffer, (const uint32_t *)(const void *)places,
                       (size_t)places_size / (2 * sizeof(uint32_t)),
                       (Field){form, (size_t)form_size}, &found);
    Py_END_ALLOW_THREADS
    return return_columns(good, (Bytes *)&found, sizeof found / sizeof(Bytes), 1);
}

/* Reads a tuple of bytes; false with an error set if it is none. */
static bool read_names(PyObject *tuple, Fields *fields)
{
    Py_ssize_t count = fields_of(tuple, fields->items, MOST_NAMES);
    fields->count = count < 0 ? 0 : (size_t)count;
    return count >= 0;
}

/* Reads what Python's `Plan` has; false with an error set. */
static bool read_plan(PyObject *tuple, Plan *plan)
{
    PyObject *alternatives;
    int flags;
    PyObject *parts[8];
    Fields *into[8] = {&plan->roles, &plan->counted, &plan->ends, &plan->ids,
                       &plan->taken, &plan->leading, &plan->marks, &plan->shapes};
    if (!PyArg_ParseTuple(tuple, "OOOOOOOOOi:plan", &alternatives, &parts[0], &parts[1], &parts[2],
                          &parts[3], &parts[4], &parts[5], &parts[6], &parts[7], &flags))
        return false;
    for (int i = 0; i < 8; i++)
        if (!read_names(parts[i], into[i]))
            return false;
    Py_ssize_t count = PyTuple_Size(alternatives);
    if (count < 0 || count > MOST_ALTERNATIVES || plan->roles.count != 5) {
        PyErr_SetString(PyExc_ValueError, "a plan has other parts");
        return false;
    }
    for (Py_ssize_t i = 0; i < count; i++)
        if (!read_names(PyTuple_GetItem(alternatives, i), &plan->alternatives[i]))
            return false;
    plan->alternative_count = (size_t)count;
    plan->answers = flags & 1;
    plan->unscored_cut_off = flags & 2;
    return true;
}

/* Whether all lines lie in the buffer, and all groups have lines. */
static bool are_inside(const Lines *lines, size_t count, const int64_t *counts, size_t groups)
{
    int64_t size = lines->end - lines->buffer, left = (int64_t)count;
    for (size_t i = 0; i < count; i++)
        if (lines->starts[i] < 0 || lines->lengths[i] < 0 || lines->lengths[i] > size ||
            lines->starts[i] > size - lines->lengths[i])
            return false;
    for (size_t i = 0; i < groups; i++) {
        if (counts[i] < 1 || counts[i] > left)
            return false;
        left -= counts[i];
    }
    return true;
}

static PyObject *py_assemble(PyObject *self, PyObject *arguments)
{
    PyObject *object, *tuple, *result = NULL;
    Py_ssize_t size, starts_size, lengths_size, counts_size;
    const char *starts, *lengths, *counts;
    const byte *buffer;
    Assembly found;
    bool good;
    (void)self;
    if (!PyArg_ParseTuple(arguments, "Ony#y#y#O:assemble", &object, &size, &starts, &starts_size,
                          &lengths, &lengths_size, &counts, &counts_size, &tuple) ||
        !buffer_of(object, size, &buffer))
        return NULL;
    Lines lines = {buffer, buffer + size, (const int64_t *)(const void *)starts,
                   (const int64_t *)(const void *)lengths};
    const int64_t *of_groups = (const int64_t *)(const void *)counts;
    size_t count = (size_t)starts_size / sizeof(int64_t);
    size_t groups = (size_t)counts_size / sizeof(int64_t);
    if (starts_size != lengths_size || !are_inside(&lines, count, of_groups, groups)) {
        PyErr_SetString(PyExc_ValueError, "there are lines beyond the buffer");
        return NULL;
    }
    Plan *plan = calloc(1, sizeof *plan);
    if (plan == NULL)
        return PyErr_NoMemory();
    if (read_plan(tuple, plan)) {
        memset(&found, 0, sizeof found);
        Py_BEGIN_ALLOW_THREADS
        good = assemble(&lines, of_groups, groups, plan, &found);
        Py_END_ALLOW_THREADS
        result = return_columns(good, &found.rollouts, offsetof(Assembly, count) / sizeof(Bytes), 6);
    }
    free(plan);
    return result;
}

static PyObject *py_rename_lines(PyObject *self, PyObject *arguments)
{
    PyObject *object, *names, *new_names, *marks;
    Py_ssize_t size, roles_size;
    const byte *buffer;
    Renaming renaming;
    Renamed found;
    bool good;
    (void)self;
    if (!PyArg_ParseTuple(arguments, "OnOOy#O:rename_lines", &object, &size, &names, &new_names,
                          &renaming.roles, &roles_size, &marks) ||
        !buffer_of(object, size, &buffer) || !read_names(names, &renaming.names) ||
        !read_names(new_names, &renaming.new_names) || !read_names(marks, &renaming.marks))
        return NULL;
    if (renaming.names.count != renaming.new_names.count ||
        renaming.names.count != (size_t)roles_size) {
        PyErr_SetString(PyExc_ValueError, "the names have other roles");
        return NULL;
    }
    memset(&found, 0, sizeof found);
    Py_BEGIN_ALLOW_THREADS
    good = rename_lines(buffer, (size_t)size, &renaming, &found);
    Py_END_ALLOW_THREADS
    return return_columns(good, (Bytes *)&found, sizeof found / sizeof(Bytes), 3);
}

/* Python's own text of a number, for which it takes the lock back: `context` points to the state of
 * the thread. */
static bool python_number_text(void *context, double value, char text[32])
{
    PyThreadState **state = context;
    PyEval_RestoreThread(*state);
    char *own = PyOS_double_to_string(value, 'r', 0, Py_DTSF_ADD_DOT_0, NULL);
    size_t size = own ? strlen(own) : 32;
    if (size < 32)
        memcpy(text, own, size + 1);
    if (own == NULL)
        PyErr_Clear();
    PyMem_Free(own);
    *state = PyEval_SaveThread();
    return size < 32;
}

static PyObject *py_encode_rows(PyObject *self, PyObject *arguments)
{
    PyObject *schemas, *arrays;
    Py_ssize_t first, after, size;
    (void)self;
    if (!PyArg_ParseTuple(arguments, "OOnnn:encode_rows", &schemas, &arrays, &first, &after, &size))
        return NULL;
    const struct ArrowSchema *schema = PyCapsule_GetPointer(schemas, "arrow_schema");
    const struct ArrowArray *array = schema ? PyCapsule_GetPointer(arrays, "arrow_array") : NULL;
    if (array == NULL)
        return NULL;
    if (first < 0 || after > array->length || size < 0) {
        PyErr_SetString(PyExc_ValueError, "there are no such rows");
        return NULL;
    }
    PyThreadState *state;
    Encoder encoder;
    bool good, known;
    memset(&encoder, 0, sizeof encoder);
    encoder.number_text = python_number_text;
    encoder.context = &state;
    state = PyEval_SaveThread();
    make_room(&encoder.lines, (size_t)size);
    good = encode_rows(schema, array, first, after, &encoder, &known);
    PyEval_RestoreThread(state);
    PyObject *columns = return_columns(good, &encoder.lines, 2, 2);
    if (columns == NULL || known)
        return columns;
    Py_DECREF(columns);
    Py_RETURN_NONE;
}

static PyMethodDef METHODS[] = {
    {"scan_scores", py_scan_scores, METH_VARARGS,
     "scan_scores(buffer, size, score, key) -> ends, counts, scores, prompts, declined, key"},
    {"read_rows", py_read_rows, METH_VARARGS,
     "read_rows(buffer, size, (score, prompt, messages, truth, reward_model), best, seed, marks) -> "
     "columns, fields of extra_info"},
    {"hash64", py_hash64, METH_O, "hash64(bytes) -> BLAKE2b with a digest of 8 bytes"},
    {"simd", py_simd, METH_VARARGS, "simd(name=None) -> the instructions in use, once set"},
    {"index_fields", py_index_fields, METH_VARARGS,
     "index_fields(buffer, size, names) -> ends, kinds, places, declined"},
    {"hash_values", py_hash_values, METH_VARARGS,
     "hash_values(buffer, size, places, form) -> hashes"},
    {"assemble", py_assemble, METH_VARARGS,
     "assemble(buffer, size, starts, lengths, counts, plan) -> rollouts, sizes, scores, prompts, "
     "shapes, totals"},
    {"rename_lines", py_rename_lines, METH_VARARGS,
     "rename_lines(buffer, size, names, new_names, roles, marks) -> lines, sizes, ends"},
    {"encode_rows", py_encode_rows, METH_VARARGS,
     "encode_rows(schema, array, first, after, size of the lines, about) -> lines, ends; None for "
     "other types"},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef MODULE = {
    PyModuleDef_HEAD_INIT, "_scanner", "The compiled scanner.", -1, METHODS, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__scanner(void)
{
    use_simd(NULL);
    PyObject *module = PyModule_Create(&MODULE);
    if (module && PyModule_AddStringConstant(module, "SOURCE", SOURCE) < 0)
        Py_CLEAR(module);
    return module;
}

#endif
