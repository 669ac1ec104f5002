/* Preloaded into a process, ends it at a step of SQLite's commit, or makes the disk full. The file of STORE_WRITES is
   mapped, as two native 32-bit numbers: the fault, and how many steps are let pass before it. A test changes them while
   the process runs. Files are told by the end of their names. System calls are used, since libc's own functions are the
   ones replaced. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { NONE, KILL_BEFORE_WRITE, KILL_AFTER_SYNC, FULL };
struct orders {
    volatile int32_t fault, steps;
};
static struct orders none;
static struct orders *orders = &none;

__attribute__((constructor)) static void map_file(void)
{
    const char *path = getenv("STORE_WRITES");
    int file = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (file < 0)
        return;
    void *mapped = mmap(NULL, sizeof(struct orders), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (mapped != MAP_FAILED)
        orders = mapped;
    close(file);
}

static int ends_with(int file, const char *end)
{
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t size = readlink(link, path, sizeof path - 1);
    size_t length = strlen(end);
    return size >= (ssize_t)length && memcmp(path + size - length, end, length) == 0;
}

static void step(int32_t fault, int file)
{
    if (orders->fault == fault && ends_with(file, ".db-wal") && __sync_fetch_and_sub(&orders->steps, 1) == 0) {
        orders->fault = NONE;
        syscall(SYS_kill, getpid(), 9);
    }
}

static int is_full(int file)
{
    return orders->fault == FULL && (ends_with(file, ".db-wal") || ends_with(file, ".db"));
}

ssize_t pwrite64(int file, const void *data, size_t size, off64_t offset)
{
    step(KILL_BEFORE_WRITE, file);
    if (is_full(file)) {
        errno = ENOSPC;
        return -1;
    }
    return syscall(SYS_pwrite64, file, data, size, offset);
}

ssize_t pwrite(int file, const void *data, size_t size, off_t offset)
{
    return pwrite64(file, data, size, offset);
}

static int synced(int file, int result)
{
    if (result == 0)
        step(KILL_AFTER_SYNC, file);
    return result;
}

int fdatasync(int file)
{
    return synced(file, syscall(SYS_fdatasync, file));
}

int fsync(int file)
{
    return synced(file, syscall(SYS_fsync, file));
}
