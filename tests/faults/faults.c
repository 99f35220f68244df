/* Preloaded into a process: counts the calls that change files below a directory, and at the n-th ends the process or has the call fail.

   fault_arm(directory, n, error, from_then_on, growing_only): n from 1; error 0 is SIGKILL, half of a write being written before it;
   from_then_on: this call and all after it fail; growing_only: count calls alone that need room on the disk.
   fault_no_exchange(1): renameat2 answers EINVAL, as file systems do that cannot exchange. fault_count(): calls so far. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static char place[PATH_MAX];
static size_t place_length;
static long wanted;
static int failure, persistent, growing, no_exchange;
static atomic_long calls;

void fault_arm(const char* directory, long n, int error, int from_then_on, int growing_only) {
  strncpy(place, directory, sizeof place - 1);
  place_length = strlen(place);
  wanted = n;
  failure = error;
  persistent = from_then_on;
  growing = growing_only;
  calls = 0;
}

void fault_no_exchange(int on) { no_exchange = on; }
long fault_count(void) { return calls; }

/* Whether a path, below a directory's descriptor unless absolute, is below the watched directory. */
static int watched(int directory, const char* path) {
  if (place_length == 0 || path == NULL) return 0;
  if (path[0] == '/') return strncmp(path, place, place_length) == 0;
  char link[64], target[PATH_MAX];
  if (directory == AT_FDCWD) return getcwd(target, sizeof target) != NULL && strncmp(target, place, place_length) == 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", directory);
  const ssize_t length = readlink(link, target, sizeof target - 1);
  if (length < 0) return 0;
  target[length] = 0;
  return strncmp(target, place, place_length) == 0;
}

static int watched_descriptor(int descriptor) {
  char link[64], target[PATH_MAX];
  if (place_length == 0) return 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
  const ssize_t length = readlink(link, target, sizeof target - 1);
  if (length < 0) return 0;
  target[length] = 0;
  return strncmp(target, place, place_length) == 0;
}

/* 1: the call is to fail with errno set; 2: the process is to end. */
static int turn(int is_watched, int grows) {
  if (!is_watched || (growing && !grows)) return 0;
  const long call = ++calls;
  if (wanted <= 0 || (persistent ? call < wanted : call != wanted)) return 0;
  if (failure == 0) return 2;
  errno = failure;
  return 1;
}

static void end(void) {
  kill(getpid(), SIGKILL);
  for (;;) pause();
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define FAIL_IF(is_watched, grows, result) \
  switch (turn(is_watched, grows)) {       \
    case 1: return result;                 \
    case 2: end();                         \
  }

#define AT_PATH(name, declared, passed, directory, path, grows) \
  int name declared {                                           \
    FAIL_IF(watched(directory, path), grows, -1)                \
    return NEXT(name) passed;                                   \
  }

AT_PATH(rename, (const char* a, const char* b), (a, b), AT_FDCWD, b, 0)
AT_PATH(renameat, (int d, const char* a, int e, const char* b), (d, a, e, b), e, b, 0)
AT_PATH(unlink, (const char* a), (a), AT_FDCWD, a, 0)
AT_PATH(unlinkat, (int d, const char* a, int f), (d, a, f), d, a, 0)
AT_PATH(rmdir, (const char* a), (a), AT_FDCWD, a, 0)
AT_PATH(mkdir, (const char* a, mode_t m), (a, m), AT_FDCWD, a, 1)
AT_PATH(mkdirat, (int d, const char* a, mode_t m), (d, a, m), d, a, 1)
AT_PATH(link, (const char* a, const char* b), (a, b), AT_FDCWD, b, 1)
AT_PATH(linkat, (int d, const char* a, int e, const char* b, int f), (d, a, e, b, f), e, b, 1)
AT_PATH(symlink, (const char* a, const char* b), (a, b), AT_FDCWD, b, 1)
AT_PATH(truncate, (const char* a, off_t n), (a, n), AT_FDCWD, a, 0)
AT_PATH(truncate64, (const char* a, off64_t n), (a, n), AT_FDCWD, a, 0)

int renameat2(int d, const char* a, int e, const char* b, unsigned int flags) {
  if (no_exchange && flags) {
    errno = EINVAL;
    return -1;
  }
  FAIL_IF(watched(e, b), 0, -1)
  return NEXT(renameat2)(d, a, e, b, flags);
}

#define ON_DESCRIPTOR(type, name, declared, passed, descriptor, grows) \
  type name declared {                                                 \
    FAIL_IF(watched_descriptor(descriptor), grows, -1)                 \
    return NEXT(name) passed;                                          \
  }

ON_DESCRIPTOR(int, fsync, (int d), (d), d, 0)
ON_DESCRIPTOR(int, fdatasync, (int d), (d), d, 0)
ON_DESCRIPTOR(int, ftruncate, (int d, off_t n), (d, n), d, 0)
ON_DESCRIPTOR(int, ftruncate64, (int d, off64_t n), (d, n), d, 0)
ON_DESCRIPTOR(ssize_t, pwrite, (int d, const void* b, size_t n, off_t o), (d, b, n, o), d, 1)
ON_DESCRIPTOR(ssize_t, pwrite64, (int d, const void* b, size_t n, off64_t o), (d, b, n, o), d, 1)
ON_DESCRIPTOR(ssize_t, writev, (int d, const struct iovec* v, int n), (d, v, n), d, 1)
ON_DESCRIPTOR(ssize_t, sendfile, (int d, int s, off_t* o, size_t n), (d, s, o, n), d, 1)
ON_DESCRIPTOR(ssize_t, sendfile64, (int d, int s, off64_t* o, size_t n), (d, s, o, n), d, 1)
ON_DESCRIPTOR(ssize_t, copy_file_range, (int s, off64_t* i, int d, off64_t* o, size_t n, unsigned f), (s, i, d, o, n, f), d, 1)

ssize_t write(int descriptor, const void* bytes, size_t size) {
  switch (turn(watched_descriptor(descriptor), 1)) {
    case 1:
      return -1;
    case 2:
      if (NEXT(write)(descriptor, bytes, size / 2) < 0) end();
      end();
  }
  return NEXT(write)(descriptor, bytes, size);
}

static int has_mode(int flags) { return (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE; }
static int makes(int flags) { return (flags & O_TRUNC) != 0 || has_mode(flags); }

#define OPEN(name)                                                 \
  int name(const char* path, int flags, ...) {                     \
    va_list rest;                                                  \
    va_start(rest, flags);                                         \
    const mode_t mode = has_mode(flags) ? va_arg(rest, mode_t) : 0;   \
    va_end(rest);                                                  \
    if (makes(flags)) FAIL_IF(watched(AT_FDCWD, path), 1, -1)      \
    return NEXT(name)(path, flags, mode);                          \
  }
OPEN(open)
OPEN(open64)

#define OPEN_AT(name)                                              \
  int name(int directory, const char* path, int flags, ...) {      \
    va_list rest;                                                  \
    va_start(rest, flags);                                         \
    const mode_t mode = has_mode(flags) ? va_arg(rest, mode_t) : 0;   \
    va_end(rest);                                                  \
    if (makes(flags)) FAIL_IF(watched(directory, path), 1, -1)     \
    return NEXT(name)(directory, path, flags, mode);               \
  }
OPEN_AT(openat)
OPEN_AT(openat64)

#define OPEN_STREAM(name)                                                        \
  FILE* name(const char* path, const char* mode) {                               \
    if (strpbrk(mode, "wa+") != NULL) FAIL_IF(watched(AT_FDCWD, path), 1, NULL)  \
    return NEXT(name)(path, mode);                                               \
  }
OPEN_STREAM(fopen)
OPEN_STREAM(fopen64)

size_t fwrite(const void* bytes, size_t size, size_t count, FILE* stream) {
  FAIL_IF(watched_descriptor(fileno(stream)), 1, 0)
  return NEXT(fwrite)(bytes, size, count, stream);
}

int fflush(FILE* stream) {
  if (stream != NULL) FAIL_IF(watched_descriptor(fileno(stream)), 1, EOF)
  return NEXT(fflush)(stream);
}
