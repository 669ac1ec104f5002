/* Counts the large blocks that Python objects take: installed in front of Python's allocators for objects and buffers.
 *
 * Only what is allocated while counting is on counts. What realloc() adds to a block counts, and what it gives back is
 * taken off again: a buffer of 64 KB into which 2 KB were read has cost 2 KB. All calls come with the GIL held.
 */
#include <stddef.h>
#include <stdint.h>

typedef struct {
    void *ctx;
    void *(*malloc)(void *ctx, size_t size);
    void *(*calloc)(void *ctx, size_t count, size_t size);
    void *(*realloc)(void *ctx, void *block, size_t size);
    void (*free)(void *ctx, void *block);
} PyMemAllocatorEx;

void PyMem_GetAllocator(int domain, PyMemAllocatorEx *allocator);
void PyMem_SetAllocator(int domain, PyMemAllocatorEx *allocator);

enum { MEM = 1, OBJ = 2, DOMAINS = 3, LARGE = 4096, SLOTS = 1 << 16 };

static PyMemAllocatorEx before[DOMAINS];
static struct { void *block; size_t size; } counted[SLOTS]; /* a hash table with linear probing */
static size_t used;
static int is_counting;
size_t total, live, peak;

static size_t slot_of(const void *block) { return ((uintptr_t)block >> 4) * 0x9E3779B97F4A7C15u >> 48; }

static void add(void *block, size_t size) {
    if (block == NULL || size < LARGE || used > SLOTS / 2)
        return;
    size_t slot = slot_of(block);
    while (counted[slot].block != NULL)
        slot = (slot + 1) % SLOTS;
    counted[slot].block = block;
    counted[slot].size = size;
    used++;
    live += size;
    if (live > peak)
        peak = live;
}

/* Returns the size that the block was counted with; 0 if it was not. */
static size_t drop(const void *block) {
    if (used == 0 || block == NULL)
        return 0;
    size_t slot = slot_of(block);
    while (counted[slot].block != block) {
        if (counted[slot].block == NULL)
            return 0;
        slot = (slot + 1) % SLOTS;
    }
    size_t size = counted[slot].size, next = slot;
    for (;;) { /* move back those that could not be found any more */
        counted[slot].block = NULL;
        size_t home;
        do {
            next = (next + 1) % SLOTS;
            if (counted[next].block == NULL) {
                used--;
                live -= size;
                return size;
            }
            home = slot_of(counted[next].block);
        } while (slot <= next ? slot < home && home <= next : slot < home || home <= next);
        counted[slot] = counted[next];
        slot = next;
    }
}

static void *counting_malloc(void *ctx, size_t size) {
    PyMemAllocatorEx *next = ctx;
    void *block = next->malloc(next->ctx, size);
    if (is_counting && size >= LARGE && block != NULL) {
        total += size;
        add(block, size);
    }
    return block;
}

static void *counting_calloc(void *ctx, size_t count, size_t size) {
    PyMemAllocatorEx *next = ctx;
    void *block = next->calloc(next->ctx, count, size);
    if (is_counting && count * size >= LARGE && block != NULL) {
        total += count * size;
        add(block, count * size);
    }
    return block;
}

static void *counting_realloc(void *ctx, void *block, size_t size) {
    PyMemAllocatorEx *next = ctx;
    size_t was = drop(block);
    void *moved = next->realloc(next->ctx, block, size);
    if (moved == NULL) {
        add(block, was);
        return NULL;
    }
    if (is_counting || was > 0) {
        size_t is = size >= LARGE ? size : 0;
        if (is_counting || is < was)
            total += is - was; /* unsigned: wraps around, and back */
        add(moved, size);
    }
    return moved;
}

static void counting_free(void *ctx, void *block) {
    PyMemAllocatorEx *next = ctx;
    drop(block);
    next->free(next->ctx, block);
}

void install(void) {
    for (int domain = MEM; domain < DOMAINS; domain++) {
        PyMem_GetAllocator(domain, &before[domain]);
        PyMemAllocatorEx counting = {
            &before[domain], counting_malloc, counting_calloc, counting_realloc, counting_free
        };
        PyMem_SetAllocator(domain, &counting);
    }
}

void uninstall(void) {
    for (int domain = MEM; domain < DOMAINS; domain++)
        PyMem_SetAllocator(domain, &before[domain]);
    for (size_t slot = 0; slot < SLOTS; slot++)
        counted[slot].block = NULL;
    used = total = live = peak = 0;
    is_counting = 0;
}

void count(int on) { is_counting = on; }
