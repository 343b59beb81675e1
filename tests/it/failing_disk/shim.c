// Makes file operations below a directory fail, as on a broken or a full disk. Preloaded into the binary.
//
// FAULT_ROOT is the directory, FAULT_STATE a file with `struct state`, which the test reads and writes while
// the program runs. FAULT_JOURNAL, if it is set, is a file that gets a line for each operation that does not only
// read. The system calls of rustix pass by: here they only lock, read metadata, and give a
// complete backup its name.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

// What becomes of an operation that fails.
enum mode {
  ONCE = 0,    // it returns the error
  FROM_ON = 1, // and so do all later ones
  SHORT = 2,   // half of its bytes are written, then as FROM_ON
  LOST = 3,    // it returns success without having written or synced anything, and so do all later ones
};

// What an operation does.
enum kind { READ, CHANGE, GROW };

struct state {
  uint64_t operations; // so far
  uint64_t at;         // the number of the operation that fails, from 1 on; 0: none
  uint64_t error;      // ENOSPC fails only what needs space
  uint64_t mode;
  uint64_t reads;      // 1: operations that read are counted, and no others
  uint64_t failed;     // so far
  char first[128];     // the first operation that failed, and its file
};

enum verdict { PASS, FAIL, HALF, PRETEND };

static struct state *state;
static int journal = -1;
static char root[PATH_MAX];
static size_t root_length;

__attribute__((constructor)) static void start(void) {
  const char *directory = getenv("FAULT_ROOT"), *file = getenv("FAULT_STATE");
  if (!directory || !file) return;
  int (*real_open)(const char *, int, ...) = dlsym(RTLD_NEXT, "open");
  int fd = real_open(file, O_RDWR | O_CLOEXEC);
  void *shared = fd < 0 ? MAP_FAILED : mmap(0, sizeof *state, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (shared == MAP_FAILED) {
    perror("FAULT_STATE");
    _exit(125);
  }
  close(fd);
  const char *lines = getenv("FAULT_JOURNAL");
  if (lines) journal = real_open(lines, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  root_length = (size_t)snprintf(root, sizeof root, "%s", directory);
  state = shared;
}

static enum verdict judge(const char *name, const char *path, enum kind kind) {
  if (!state || strncmp(path, root, root_length)) return PASS;
  if (path[root_length] && path[root_length] != '/') return PASS;
  if (journal >= 0 && kind != READ) dprintf(journal, "%s .%s\n", name, path + root_length);
  if ((kind == READ) != (state->reads == 1) || (kind == CHANGE && state->error == ENOSPC)) return PASS;
  uint64_t number = __atomic_add_fetch(&state->operations, 1, __ATOMIC_SEQ_CST), at = state->at;
  if (at == 0 || number < at || (number > at && state->mode == ONCE)) return PASS;
  if (__atomic_fetch_add(&state->failed, 1, __ATOMIC_SEQ_CST) == 0)
    snprintf(state->first, sizeof state->first, "%s .%s", name, path + root_length);
  if (state->mode == LOST) return PRETEND;
  errno = (int)state->error;
  return state->mode == SHORT && number == at ? HALF : FAIL;
}

static enum verdict of_path(const char *name, const char *path, enum kind kind) {
  char absolute[2 * PATH_MAX];
  if (*path == '/' || !getcwd(absolute, PATH_MAX)) return judge(name, path, kind);
  strcat(strcat(absolute, "/"), path);
  return judge(name, absolute, kind);
}

static enum verdict of_file(const char *name, int fd, enum kind kind) {
  char link[64], path[PATH_MAX];
  if (!state) return PASS;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0) return PASS;
  path[length] = 0;
  return judge(name, path, kind);
}

#define REAL(name) static __typeof__(&name) real; if (!real) real = dlsym(RTLD_NEXT, #name)

#define OPEN(name) \
  int name(const char *path, int flags, ...) { \
    REAL(name); \
    va_list rest; \
    va_start(rest, flags); \
    int mode = flags & O_CREAT ? va_arg(rest, int) : 0; \
    va_end(rest); \
    enum verdict verdict = of_path("open", path, flags & O_CREAT ? GROW : READ); \
    return verdict == FAIL || verdict == HALF ? -1 : real(path, flags, mode); \
  }
OPEN(open)
OPEN(open64)

// A write of `length` bytes: `whole` is the real call, `half` the real call with half of them.
#define WRITE(whole, half, length) \
  switch (of_file(__func__, fd, GROW)) { \
  case FAIL: return -1; \
  case PRETEND: return (ssize_t)(length); \
  case HALF: if ((length) > 1) return half; return -1; \
  default: return whole; \
  }

ssize_t write(int fd, const void *bytes, size_t length) {
  REAL(write);
  WRITE(real(fd, bytes, length), real(fd, bytes, length / 2), length)
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
  REAL(writev);
  size_t length = 0;
  for (int i = 0; i < count; i++) length += parts[i].iov_len;
  WRITE(real(fd, parts, count), write(fd, parts[0].iov_base, parts[0].iov_len / 2), length)
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t offset) {
  REAL(pwrite64);
  WRITE(real(fd, bytes, length, offset), real(fd, bytes, length / 2, offset), length)
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset) {
  return pwrite64(fd, bytes, length, offset);
}

// Any other operation: it has no half, and only those on bytes can be lost.
#define OTHER(name, parameters, verdict, ...) \
  int name parameters { \
    REAL(name); \
    switch (verdict) { \
    case FAIL: case HALF: return -1; \
    case PRETEND: return 0; \
    default: return real(__VA_ARGS__); \
    } \
  }
OTHER(fsync, (int fd), of_file("fsync", fd, GROW), fd)
OTHER(fdatasync, (int fd), of_file("fdatasync", fd, GROW), fd)
OTHER(ftruncate, (int fd, off_t length), of_file("ftruncate", fd, GROW), fd, length)
OTHER(ftruncate64, (int fd, off64_t length), of_file("ftruncate", fd, GROW), fd, length)

static enum verdict of_name(const char *name, const char *path, enum kind kind) {
  enum verdict verdict = of_path(name, path, kind);
  return verdict == PRETEND ? PASS : verdict;
}

// A file gets another name.
static enum verdict of_names(const char *name, const char *from, const char *to, enum kind kind) {
  const char *last = strrchr(to, '/');
  char both[64 + NAME_MAX];
  snprintf(both, sizeof both, "%s to %s of", name, last ? last + 1 : to);
  return of_name(both, from, kind);
}
OTHER(rename, (const char *from, const char *to), of_names("rename", from, to, CHANGE), from, to)
OTHER(unlink, (const char *path), of_name("unlink", path, CHANGE), path)
OTHER(chmod, (const char *path, mode_t mode), of_name("chmod", path, CHANGE), path, mode)
OTHER(mkdir, (const char *path, mode_t mode), of_name("mkdir", path, GROW), path, mode)
OTHER(link, (const char *from, const char *to), of_names("link", from, to, GROW), from, to)
OTHER(linkat, (int in, const char *from, int at, const char *to, int flags), of_names("link", from, to, GROW),
      in, from, at, to, flags)

ssize_t read(int fd, void *bytes, size_t length) {
  REAL(read);
  return of_file("read", fd, READ) == PASS ? real(fd, bytes, length) : -1;
}

ssize_t pread64(int fd, void *bytes, size_t length, off64_t offset) {
  REAL(pread64);
  return of_file("pread", fd, READ) == PASS ? real(fd, bytes, length, offset) : -1;
}
