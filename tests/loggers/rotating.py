"""Logs numbered lines (see tests/support/ledger.rs) with one of the handlers of Python's logging.

Arguments: the handler, the file, the tag, how many lines.
"""

import gzip
import logging.handlers
import os
import shutil
import sys
import threading
import time

SIZE = 64 << 10


def pack(source, target):
    """As the cookbook of Python's logging has it."""
    with open(source, "rb") as plain, gzip.open(target, "wb") as packed:
        shutil.copyfileobj(plain, packed)
    os.remove(source)


def handler_of(kind, path):
    if kind == "timed":
        return logging.handlers.TimedRotatingFileHandler(path, when="S", backupCount=1000)
    if kind == "watched":
        return logging.handlers.WatchedFileHandler(path)
    handler = logging.handlers.RotatingFileHandler(path, maxBytes=SIZE, backupCount=1000)
    if kind == "size-gz":
        handler.namer = lambda name: name + ".gz"
        handler.rotator = pack
    return handler


def rename_again_and_again(path, is_over):
    """What rotates a file of WatchedFileHandler: another program, at any time."""
    count = 0
    while not is_over.wait(0.25):
        for number in range(count, 0, -1):
            os.rename(f"{path}.{number}", f"{path}.{number + 1}")
        try:
            os.rename(path, f"{path}.1")
            count += 1
        except FileNotFoundError:
            # Nothing was written since; then .1 is free until the next time.
            for number in range(1, count + 1):
                os.rename(f"{path}.{number + 1}", f"{path}.{number}")


def main(kind, path, tag, count):
    handler = handler_of(kind, path)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("test")
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    is_over = threading.Event()
    rotation = threading.Thread(target=rename_again_and_again, args=(path, is_over))
    if kind == "watched":
        rotation.start()
    for number in range(int(count)):
        filling = number * 37 % 150
        logger.info("%s %d %d %s", tag, number, filling, "x" * filling)
        if number % 10 == 9:
            time.sleep(0.005)
    is_over.set()
    if kind == "watched":
        rotation.join()


main(*sys.argv[1:])
