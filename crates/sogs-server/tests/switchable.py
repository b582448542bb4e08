#!/usr/bin/env python3
"""A file system that turns read-only and back: switchable.py BACKING MOUNT SWITCH

Shows the folder BACKING at MOUNT. While the file SWITCH exists, whatever would change something fails with EROFS, also on
files that are open already, as on a disk whose file system went read-only. Needs python3-fusepy of Debian.
"""
import errno
import os
import sys

from fusepy import FUSE, FuseOSError, Operations


class Switchable(Operations):
    def __init__(self, backing, switch):
        self.backing, self.switch = backing, switch

    def at(self, path):
        return self.backing + path

    def changing(self):
        if os.path.exists(self.switch):
            raise FuseOSError(errno.EROFS)

    def getattr(self, path, fh=None):
        st = os.fstat(fh) if fh is not None else os.lstat(self.at(path))
        return {key: getattr(st, key) for key in (
            "st_atime", "st_ctime", "st_mtime", "st_gid", "st_uid", "st_mode", "st_nlink", "st_size")}

    def readdir(self, path, fh):
        return [".", "..", *os.listdir(self.at(path))]

    def statfs(self, path):
        st = os.statvfs(self.at(path))
        return {key: getattr(st, key) for key in (
            "f_bavail", "f_bfree", "f_blocks", "f_bsize", "f_favail", "f_ffree", "f_files", "f_flag", "f_frsize", "f_namemax")}

    def open(self, path, flags):
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_TRUNC):
            self.changing()
        return os.open(self.at(path), flags & ~os.O_APPEND)

    def create(self, path, mode, fi=None):
        self.changing()
        return os.open(self.at(path), os.O_RDWR | os.O_CREAT | os.O_TRUNC, mode)

    def read(self, path, size, offset, fh):
        return os.pread(fh, size, offset)

    def write(self, path, data, offset, fh):
        self.changing()
        return os.pwrite(fh, data, offset)

    def truncate(self, path, length, fh=None):
        self.changing()
        os.truncate(fh if fh is not None else self.at(path), length)

    def fsync(self, path, datasync, fh):
        self.changing()
        os.fsync(fh)

    def fsyncdir(self, path, datasync, fh):
        self.changing()

    def release(self, path, fh):
        os.close(fh)

    def mkdir(self, path, mode):
        self.changing()
        os.mkdir(self.at(path), mode)

    def mknod(self, path, mode, dev):
        self.changing()
        os.mknod(self.at(path), mode, dev)

    def unlink(self, path):
        self.changing()
        os.unlink(self.at(path))

    def rmdir(self, path):
        self.changing()
        os.rmdir(self.at(path))

    def rename(self, old, new):
        self.changing()
        os.rename(self.at(old), self.at(new))

    def link(self, target, source):
        self.changing()
        os.link(self.at(source), self.at(target))

    def chmod(self, path, mode):
        self.changing()
        os.chmod(self.at(path), mode)

    def chown(self, path, uid, gid):
        self.changing()
        os.chown(self.at(path), uid, gid)

    def utimens(self, path, times=None):
        self.changing()
        os.utime(self.at(path), times)


backing, mount, switch = sys.argv[1:]
FUSE(Switchable(backing, switch), mount, foreground=True, nothreads=True, fsname="switchable")
