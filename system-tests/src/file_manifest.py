"""Everything about the files below a directory that a backup must bring back, one line a path, sorted: content, mode, owner,
times to the nanosecond, extended attributes, links, and which names are one file. Says nothing of inode numbers, of times
of access and of change, which nobody can set."""

import hashlib
import os
import stat
import sys


def attributes(path):
    names = sorted(os.listxattr(path, follow_symlinks=False))
    return [(name, os.getxattr(path, name, follow_symlinks=False)) for name in names]


def content(path, found):
    if stat.S_ISLNK(found.st_mode):
        return os.readlink(path)
    if not stat.S_ISREG(found.st_mode):
        return found.st_rdev if stat.S_ISCHR(found.st_mode) or stat.S_ISBLK(found.st_mode) else ""
    with open(path, "rb") as file:
        return found.st_size, hashlib.sha256(file.read()).hexdigest()


def paths(top):
    yield top
    for directory, below, files in os.walk(top):
        for name in below + files:
            yield os.path.join(directory, name)


first_name = {}
for path in sorted(paths(os.fsencode(sys.argv[1]))):
    found = os.lstat(path)
    one_file = first_name.setdefault((found.st_dev, found.st_ino), path) if found.st_nlink > 1 else path
    shared = "" if stat.S_ISDIR(found.st_mode) else (found.st_nlink, one_file)
    owner = (found.st_uid, found.st_gid)
    print(path, oct(found.st_mode), owner, found.st_mtime_ns, shared, content(path, found), attributes(path))
