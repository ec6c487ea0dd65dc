/* What a process does to files below one directory, counted, and at one place broken.

   Preloaded. `disk_break(root, place, how, code)` arms it: the place-th change of a file below `root` kills or
   signals the process, fails, or writes half. A change is a file made, a write, a rename, a deletion, a directory made or
   deleted, or a flush to the disk. Nothing is counted before. */

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
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { COUNT = 0, KILL = 1, TEAR = 2, FAIL_ONCE = 3, FAIL_ON = 4, SHORT = 5, SIGNAL = 6 };

static char root[PATH_MAX];
static size_t root_length;
static atomic_long seen;
static atomic_int torn;
static long place;
static int how, code;

void disk_break(const char *directory, long at, int in_which_way, int error) {
  strncpy(root, directory, sizeof root - 1);
  root_length = strlen(root);
  place = at;
  how = in_which_way;
  code = error;
  atomic_store(&seen, 0);
  atomic_store(&torn, 0);
}

long disk_changes(void) { return atomic_load(&seen); }

static int below(const char *path) {
  if (!root_length) return 0;
  if (path[0] == '/') return !strncmp(path, root, root_length);
  char here[PATH_MAX];
  return getcwd(here, sizeof here) && !strncmp(here, root, root_length);
}

static int open_below(int fd) {
  if (!root_length || fd < 3) return 0;
  char link[64], path[PATH_MAX];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0) return 0;
  path[length] = 0;
  return !strncmp(path, root, root_length);
}

static int at_below(int directory, const char *path) {
  return path[0] == '/' || directory == AT_FDCWD ? below(path) : open_below(directory);
}

static void die(void) {
  kill(getpid(), SIGKILL);
  for (;;) pause();
}

enum { NO_ROOM = 0, ROOM = 1, WRITE = 2 }; /* what a change takes of a disk; only a write can be done by half */

/* 0: go on; 1: fail with errno set; 2: do half; 3: do half, then die. */
static int change(int takes) {
  long number = atomic_fetch_add(&seen, 1) + 1;
  if (how == COUNT || number < place) return 0;
  if (how == TEAR || how == SHORT) { /* the first write from the place on */
    if (takes != WRITE || atomic_exchange(&torn, 1)) return 0;
    return how == TEAR ? 3 : 2;
  }
  if (number > place && how != FAIL_ON) return 0;
  switch (how) {
    case KILL: die(); break;
    case SIGNAL: kill(getpid(), code); return 0;
    case FAIL_ON: if (takes == NO_ROOM) return 0; /* a full disk still deletes and renames */
  }
  errno = code;
  return 1;
}

#define REAL(name) ((typeof(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int fd, const void *data, size_t size) {
  if (size > 0 && open_below(fd)) {
    int what = change(WRITE);
    if (what == 1) return -1;
    if (what >= 2) {
      ssize_t done = REAL(write)(fd, data, size > 1 ? size / 2 : size);
      if (what == 3) die();
      return done;
    }
  }
  return REAL(write)(fd, data, size);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off_t at) {
  if (size > 0 && open_below(fd)) {
    int what = change(WRITE);
    if (what == 1) return -1;
    if (what >= 2) {
      ssize_t done = REAL(pwrite64)(fd, data, size > 1 ? size / 2 : size, at);
      if (what == 3) die();
      return done;
    }
  }
  return REAL(pwrite64)(fd, data, size, at);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
  if (count > 0 && open_below(fd)) {
    int what = change(WRITE);
    if (what == 1) return -1;
    if (what >= 2) {
      ssize_t done = REAL(writev)(fd, parts, 1);
      if (what == 3) die();
      return done;
    }
  }
  return REAL(writev)(fd, parts, count);
}

ssize_t sendfile64(int to, int from, off_t *at, size_t size) {
  if (open_below(to) && change(ROOM) == 1) return -1;
  return REAL(sendfile64)(to, from, at, size);
}

ssize_t copy_file_range(int from, off64_t *a, int to, off64_t *b, size_t size, unsigned flags) {
  if (open_below(to) && change(ROOM) == 1) return -1;
  return REAL(copy_file_range)(from, a, to, b, size, flags);
}

#define OPEN(name)                                                                 \
  int name(const char *path, int flags, ...) {                                     \
    va_list rest;                                                                  \
    va_start(rest, flags);                                                         \
    mode_t mode = va_arg(rest, mode_t);                                            \
    va_end(rest);                                                                  \
    if ((flags & O_CREAT) && below(path) && change(ROOM) == 1) return -1;             \
    return REAL(name)(path, flags, mode);                                          \
  }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                               \
  int name(int directory, const char *path, int flags, ...) {                      \
    va_list rest;                                                                  \
    va_start(rest, flags);                                                         \
    mode_t mode = va_arg(rest, mode_t);                                            \
    va_end(rest);                                                                  \
    if ((flags & O_CREAT) && at_below(directory, path) && change(ROOM) == 1) return -1; \
    return REAL(name)(directory, path, flags, mode);                               \
  }
OPENAT(openat)
OPENAT(openat64)

int rename(const char *from, const char *to) {
  return below(to) && change(NO_ROOM) == 1 ? -1 : REAL(rename)(from, to);
}
int renameat(int a, const char *from, int b, const char *to) {
  return at_below(b, to) && change(NO_ROOM) == 1 ? -1 : REAL(renameat)(a, from, b, to);
}
int renameat2(int a, const char *from, int b, const char *to, unsigned flags) {
  return at_below(b, to) && change(NO_ROOM) == 1 ? -1 : REAL(renameat2)(a, from, b, to, flags);
}
int unlink(const char *path) { return below(path) && change(NO_ROOM) == 1 ? -1 : REAL(unlink)(path); }
int unlinkat(int directory, const char *path, int flags) {
  return at_below(directory, path) && change(NO_ROOM) == 1 ? -1 : REAL(unlinkat)(directory, path, flags);
}
int rmdir(const char *path) { return below(path) && change(NO_ROOM) == 1 ? -1 : REAL(rmdir)(path); }
int mkdir(const char *path, mode_t mode) {
  return below(path) && change(ROOM) == 1 ? -1 : REAL(mkdir)(path, mode);
}
int mkdirat(int directory, const char *path, mode_t mode) {
  return at_below(directory, path) && change(ROOM) == 1 ? -1 : REAL(mkdirat)(directory, path, mode);
}
int fsync(int fd) { return open_below(fd) && change(NO_ROOM) == 1 ? -1 : REAL(fsync)(fd); }
int fdatasync(int fd) { return open_below(fd) && change(NO_ROOM) == 1 ? -1 : REAL(fdatasync)(fd); }
int ftruncate64(int fd, off_t size) { return open_below(fd) && change(ROOM) == 1 ? -1 : REAL(ftruncate64)(fd, size); }
