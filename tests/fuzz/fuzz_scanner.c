/* Every function of the scanner on one input: with each kind of SIMD, which must not matter, and
 * with each single allocation failing, which must end in "no memory" and leak nothing.
 *
 * With -DWITH_LIBFUZZER the inputs come from libFuzzer. Otherwise it is a program that takes files,
 * and puts each of them, and each of its beginnings, right before a page that must not be touched.
 *
 * A function of the scanner is added here by a `run_` function and an entry in FUNCTIONS.
 */

#define _DEFAULT_SOURCE /* for MAP_ANON */
#define WITHOUT_PYTHON
#define REALLOCATE reallocate

#include <stddef.h>
#include <stdio.h>

static void *reallocate(void *data, size_t size);

#include "../../curriculum/scanner/scanner.c"

static size_t allocations; /* since a function was started */
static size_t failing;     /* the number of the one that fails, from 1; 0: none */

static void *reallocate(void *data, size_t size)
{
    return ++allocations == failing ? NULL : realloc(data, size);
}

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "line %d: %s does not hold\n", __LINE__, #condition);                  \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* ---- What the functions return for an input: `*result` is a hash of it, and they are false if
 * there was no memory. ---- */

/* Hashes the columns that are returned, and frees all. */
static uint64_t take_columns(Bytes *every, size_t count, size_t returned)
{
    uint64_t hashes[ROW_BYTES] = {0};
    CHECK(returned <= sizeof hashes / sizeof *hashes);
    for (size_t i = 0; i < count; i++) {
        if (i < returned && every[i].size)
            hashes[i] = hash_bytes(every[i].data, every[i].size);
        free(every[i].data);
    }
    return hash_bytes(hashes, sizeof hashes);
}

static size_t sum_of(const Bytes *counts)
{
    size_t sum = 0;
    for (size_t i = 0; i < counts->size; i += 8)
        sum += (size_t)load_little(counts->data + i);
    return sum;
}

/* A column has a value for each row, and its bytes end where the last one does. */
static void check_column(const Column *column, size_t rows)
{
    int32_t end = 0;
    CHECK(column->kinds.size == rows);
    CHECK(column->ends.size == 4 * rows);
    CHECK(column->numbers.size == 8 * rows);
    if (rows)
        memcpy(&end, column->ends.data + 4 * (rows - 1), sizeof end);
    CHECK(column->data.size == (size_t)end);
}

static size_t line_count(const byte *buffer, size_t size)
{
    size_t count = size && buffer[size - 1] != '\n';
    for (size_t i = 0; i < size; i++)
        count += buffer[i] == '\n';
    return count;
}

static bool run_scan_scores(const byte *buffer, size_t size, uint64_t *result)
{
    Scores found;
    memset(&found, 0, sizeof found);
    bool good = scan_scores(buffer, size, FIELD("score"), FIELD("key"), &found);
    if (good) {
        size_t lines = line_count(buffer, size), read = found.counts.size / 8;
        CHECK(found.ends.size == 8 * lines);
        CHECK(read + found.declined.size / 8 == lines);
        CHECK(found.prompts.size == 8 * read);
        CHECK(found.scores.size == 8 * sum_of(&found.counts));
        check_column(&found.key, read);
    }
    *result = take_columns((Bytes *)&found, sizeof found / sizeof(Bytes),
                           offsetof(Scores, turns) / sizeof(Bytes));
    return good;
}

static bool run_read_rows(const byte *buffer, size_t size, uint64_t *result)
{
    static const byte MARKS[] = "\2<|\13\nassistant\n";
    RowFields fields = {FIELD("score"), FIELD("prompt"), FIELD("messages"), FIELD("ground_truth"),
                        FIELD("reward_model"), true, (const byte *)"42", 2, MARKS, sizeof MARKS - 1};
    Rows *rows = calloc(1, sizeof *rows);
    CHECK(rows != NULL);
    bool good = read_rows(buffer, size, &fields, rows);
    if (good) {
        size_t lines = line_count(buffer, size), read = rows_read(rows);
        const Bytes *numbers[] = {&rows->turn_counts, &rows->hashes, &rows->characters,
                                  &rows->answers, &rows->best_indexes};
        const Column *columns[] = {&rows->key,   &rows->ability,   &rows->source,
                                   &rows->truth, &rows->best_text, &rows->best_reward};
        CHECK(rows->ends.size == 8 * lines);
        CHECK(read + rows->declined.size / 8 == lines);
        CHECK(rows->scores.size == 8 * sum_of(&rows->counts));
        for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
            CHECK(numbers[i]->size == 8 * read);
        for (size_t i = 0; i < sizeof columns / sizeof *columns; i++)
            check_column(columns[i], read);
        for (size_t i = 0; i < rows->own_count; i++)
            check_column(&rows->own[i], read);
        check_column(&rows->roles, sum_of(&rows->turn_counts));
        check_column(&rows->contents, sum_of(&rows->turn_counts));
    }
    *result = take_columns((Bytes *)rows, ROW_BYTES, ROW_BYTES - 4);
    free(rows);
    return good;
}

/* The fields of verl's dumps, and `messages`. */
static const Field NAMES[] = {{"uid", 3}, {"input", 5}, {"output", 6}, {"gts", 3},
                              {"score", 5}, {"step", 4}, {"messages", 8}};
enum { NAME_COUNT = sizeof NAMES / sizeof *NAMES };

static bool run_rename_lines(const byte *buffer, size_t size, uint64_t *result)
{
    static const Renaming RENAMING = {
        {{{"question", 8}, {"outputs", 7}, {"grades", 6}, {"gold", 4}, {"id", 2}, {"status", 6},
          {"reward", 6}}, 7},
        {{{"prompt", 6}, {"responses", 9}, {"reward", 6}, {"ground_truth", 12}, {"", 0}, {"", 0},
          {"", 0}}, 7},
        {{{"<|", 2}, {"[INST]", 6}}, 2},
        "prstkna"};
    Renamed found;
    memset(&found, 0, sizeof found);
    bool good = rename_lines(buffer, size, &RENAMING, &found);
    if (good) {
        size_t lines = line_count(buffer, size);
        CHECK(found.sizes.size == 8 * lines);
        CHECK(found.ends.size == 8 * lines);
        CHECK(sum_of(&found.sizes) == found.lines.size);
        CHECK(line_count(found.lines.data, found.lines.size) <= lines);
    }
    *result = take_columns((Bytes *)&found, sizeof found / sizeof(Bytes), 3);
    return good;
}

static bool run_index_fields(const byte *buffer, size_t size, uint64_t *result)
{
    Index found;
    memset(&found, 0, sizeof found);
    bool good = index_fields(buffer, size, NAMES, NAME_COUNT, &found);
    if (good) {
        size_t lines = line_count(buffer, size);
        CHECK(found.ends.size == 8 * lines);
        CHECK(found.kinds.size == NAME_COUNT * lines);
        CHECK(found.places.size == 8 * NAME_COUNT * lines);
    }
    *result = take_columns((Bytes *)&found, sizeof found / sizeof(Bytes), 4);
    return good;
}

static bool run_hash_values(const byte *buffer, size_t size, uint64_t *result)
{
    Index found;
    Hashes hashes;
    memset(&found, 0, sizeof found);
    memset(&hashes, 0, sizeof hashes);
    bool good = index_fields(buffer, size, NAMES, NAME_COUNT, &found);
    size_t count = found.places.size / 8;
    if (good && count)
        good = hash_values(buffer, (const uint32_t *)(const void *)found.places.data, count,
                           FIELD("xv|_+"), &hashes);
    if (good)
        CHECK(hashes.hashes.size == 8 * count);
    take_columns((Bytes *)&found, sizeof found / sizeof(Bytes), 0);
    *result = take_columns((Bytes *)&hashes, sizeof hashes / sizeof(Bytes), 1);
    return good;
}

/* A plan such as that of verl's dumps, with one shape of a chat template. */
static const Plan PLAN = {
    .roles = {{{"score", 5}, {"output", 6}, {"input", 5}, {"gts", 3}, {"tools", 5}}, 5},
    .alternatives = {{{{"uid", 3}, {"step", 4}}, 2}, {{{"input", 5}}, 1}},
    .alternative_count = 2,
    .counted = {{{"uid", 3}, {"xv|_+", 5}}, 2},
    .ids = {{{"uid", 3}}, 1},
    .ends = {{{"end", 3}, {"\"length\"", 8}, {"2", 1}, {"end", 3}, {"*", 1}, {"0", 1}}, 6},
    .taken = {{{"key", 3}, {"prompt", 6}, {"response", 8}, {"reward", 6}}, 4},
    .leading = {{{"step", 4}}, 1},
    .marks = {{{"<|", 2}, {"\nassistant\n", 11}}, 2},
    .shapes = {{{"user\n", 5}, {"\nassistant\n", 11}, {"[{\"role\":\"user\",\"content\":\"", 27},
                {"\"}]", 3}}, 4},
    .answers = true,
    .unscored_cut_off = true,
};

/* Puts the lines together, two for each group. */
static bool run_assemble(const byte *buffer, size_t size, uint64_t *result)
{
    size_t count = line_count(buffer, size), groups = (count + 1) / 2, at = 0;
    int64_t *starts = calloc(3 * count + 1, sizeof *starts);
    CHECK(starts != NULL);
    int64_t *lengths = starts + count, *counts = lengths + count;
    for (size_t line = 0; line < count; line++) {
        const byte *stop = memchr(buffer + at, '\n', size - at);
        size_t after = stop ? (size_t)(stop - buffer) : size;
        starts[line] = (int64_t)at;
        lengths[line] = (int64_t)(after - at);
        counts[line / 2]++;
        at = after + 1;
    }
    Lines lines = {buffer, buffer + size, starts, lengths};
    Assembly found;
    memset(&found, 0, sizeof found);
    bool good = assemble(&lines, counts, groups, &PLAN, &found);
    if (good) {
        CHECK(found.sizes.size == 8 * groups);
        CHECK(found.rollouts.size == sum_of(&found.sizes));
    }
    free(starts);
    *result = take_columns(&found.rollouts, offsetof(Assembly, count) / sizeof(Bytes), 6);
    return good;
}

static bool no_number_text(void *context, double value, char text[32])
{
    (void)context;
    snprintf(text, 32, "%.17g", value);
    return true;
}

enum { FUZZ_COLUMNS = 7 };

/* Arrays whose buffers are the input: strings and JSON that are cut anywhere, numbers of any bits,
 * lists of the strings, a dictionary, a null for every other value. */
typedef struct {
    struct ArrowSchema schemas[FUZZ_COLUMNS + 3], *children[FUZZ_COLUMNS], *inner[2];
    struct ArrowArray arrays[FUZZ_COLUMNS + 3], *values[FUZZ_COLUMNS], *items[2];
    const void *buffers[FUZZ_COLUMNS + 3][3];
} Batch;

static void set_array(Batch *batch, int i, const char *format, int64_t rows, const void *valid,
                      const void *one, const void *two)
{
    batch->buffers[i][0] = valid;
    batch->buffers[i][1] = one;
    batch->buffers[i][2] = two;
    batch->schemas[i] = (struct ArrowSchema){.format = format, .name = "a\"b"};
    batch->arrays[i] = (struct ArrowArray){.length = rows, .n_buffers = 3,
                                           .buffers = batch->buffers[i]};
}

static bool run_encode_rows(const byte *buffer, size_t size, uint64_t *result)
{
    int64_t rows = (int64_t)(size / 8);
    int32_t *starts = calloc((size_t)rows + 1, sizeof *starts);
    int64_t *wide = calloc((size_t)rows + 1, sizeof *wide);
    byte *valid = calloc((size_t)rows / 8 + 1, 1), *numbers = calloc((size_t)rows + 1, 8);
    Batch *batch = calloc(1, sizeof *batch);
    CHECK(starts && wide && valid && numbers && batch);
    for (int64_t row = 0; row < rows; row++) {
        starts[row + 1] = starts[row] + buffer[row] % 9;
        wide[row + 1] = starts[row + 1];
    }
    memset(valid, 0x55, (size_t)rows / 8 + 1);
    if (rows)
        memcpy(numbers, buffer, (size_t)rows * 8);
    set_array(batch, 0, "g", rows, NULL, numbers, NULL);
    set_array(batch, 1, "f", rows, valid, numbers, NULL);
    set_array(batch, 2, "l", rows, NULL, numbers, NULL);
    set_array(batch, 3, "u", rows, valid, starts, buffer);
    set_array(batch, 4, "Z", rows, NULL, wide, buffer);
    set_array(batch, 5, "b", rows, valid, numbers, NULL);
    set_array(batch, 6, "+l", rows, NULL, starts, NULL);
    set_array(batch, FUZZ_COLUMNS, "+s", rows, NULL, NULL, NULL);
    /* The items of the lists: doubles, for all that the offsets may reach. */
    set_array(batch, FUZZ_COLUMNS + 1, "C", (int64_t)size, NULL, buffer, NULL);
    batch->inner[0] = &batch->schemas[FUZZ_COLUMNS + 1];
    batch->items[0] = &batch->arrays[FUZZ_COLUMNS + 1];
    batch->schemas[6].children = batch->inner;
    batch->arrays[6].children = batch->items;
    batch->arrays[6].n_children = 1;
    bool fits = starts[rows] <= (int64_t)size;
    int count = fits ? FUZZ_COLUMNS : 3;
    for (int i = 0; i < count; i++) {
        batch->children[i] = &batch->schemas[i];
        batch->values[i] = &batch->arrays[i];
    }
    batch->schemas[FUZZ_COLUMNS].children = batch->children;
    batch->arrays[FUZZ_COLUMNS].children = batch->values;
    batch->arrays[FUZZ_COLUMNS].n_children = count;
    Encoder encoder;
    bool known;
    memset(&encoder, 0, sizeof encoder);
    encoder.number_text = no_number_text;
    bool good = encode_rows(&batch->schemas[FUZZ_COLUMNS], &batch->arrays[FUZZ_COLUMNS], 0, rows,
                            &encoder, &known);
    if (good) {
        CHECK(known);
        CHECK(encoder.ends.size == 8 * (size_t)rows);
    }
    *result = take_columns(&encoder.lines, 2, 2);
    free(starts);
    free(wide);
    free(valid);
    free(numbers);
    free(batch);
    return good;
}

static bool run_hash64(const byte *buffer, size_t size, uint64_t *result)
{
    *result = hash_bytes(buffer, size);
    return true;
}

static bool (*const FUNCTIONS[])(const byte *buffer, size_t size, uint64_t *result) = {
    run_scan_scores,
    run_read_rows,
    run_index_fields,
    run_hash_values,
    run_assemble,
    run_rename_lines,
    run_encode_rows,
    run_hash64,
};

enum { FUNCTION_COUNT = sizeof FUNCTIONS / sizeof *FUNCTIONS };

/* ---- One input ---- */

/* What the machine reads 64 bytes at a time must not depend on how. */
static void try_every_simd(const byte *buffer, size_t size)
{
    for (size_t i = 0; i < FUNCTION_COUNT; i++) {
        uint64_t first = 0, result;
        for (size_t kind = 0; kind < sizeof SIMD / sizeof *SIMD; kind++) {
            if (!use_simd(SIMD[kind].name))
                continue;
            failing = 0;
            CHECK(FUNCTIONS[i](buffer, size, &result));
            CHECK(kind == 0 || result == first);
            first = result;
        }
    }
}

/* Without the n-th allocation there is "no memory", for every n. */
static void try_every_failure(const byte *buffer, size_t size)
{
    for (size_t i = 0; i < FUNCTION_COUNT; i++) {
        uint64_t result;
        for (size_t number = 1;; number++) {
            allocations = 0;
            failing = number;
            bool good = FUNCTIONS[i](buffer, size, &result);
            CHECK(good == (allocations < number));
            if (good)
                break;
        }
    }
    failing = 0;
}

#ifdef WITH_LIBFUZZER

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    try_every_simd(data, size);
    if (hash_bytes(data, size) % 8 == 0) /* these take longer */
        try_every_failure(data, size);
    return 0;
}

#else

#include <sys/mman.h>
#include <unistd.h>

/* So many beginnings of a file are tried at most, with steps between them. */
#ifndef BEGINNINGS
#define BEGINNINGS 128
#endif

static byte *map_pages(size_t size)
{
    byte *pages = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON, -1, 0);
    if (pages == MAP_FAILED) {
        perror("mmap");
        exit(2);
    }
    return pages;
}

/* Tries the file and its beginnings, each right before the page at `guard`. */
static void try_file(const byte *file, size_t size, byte *guard)
{
    size_t step = size / BEGINNINGS + 1;
    for (size_t beginning = size % step; beginning <= size; beginning += step) {
        byte *start = guard - beginning;
        if (beginning)
            memcpy(start, file, beginning);
        try_every_simd(start, beginning);
        if (beginning == size || beginning / step % 16 == 0)
            try_every_failure(start, beginning);
    }
}

/* Reads a file; NULL without it. */
static byte *read_file(const char *path, size_t *size)
{
    FILE *stream = fopen(path, "rb");
    if (stream == NULL || fseek(stream, 0, SEEK_END) != 0)
        return NULL;
    *size = (size_t)ftell(stream);
    rewind(stream);
    byte *text = malloc(*size + 1);
    if (text && fread(text, 1, *size, stream) != *size) {
        free(text);
        text = NULL;
    }
    fclose(stream);
    return text;
}

int main(int count, char **paths)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    for (int i = 1; i < count; i++) {
        size_t size;
        byte *text = read_file(paths[i], &size);
        if (text == NULL) {
            fprintf(stderr, "%s cannot be read\n", paths[i]);
            return 2;
        }
        size_t room = (size / page + 1) * page;
        byte *pages = map_pages(room + page);
        if (mprotect(pages + room, page, PROT_NONE) != 0) {
            perror("mprotect");
            return 2;
        }
        try_file(text, size, pages + room);
        munmap(pages, room + page);
        free(text);
    }
    return 0;
}

#endif
