"""Runs commands of apmae in children of a process that has imported everything; see `harness.py`.

A line of standard input is a trial as JSON; a line of standard output tells how it ended.
"""

import ctypes
import importlib
import json
import os
import sys

import apmae.cli
from apmae.stages import STAGES


def run(trial, broken_disk):
    """Do a trial in a child; returns its exit code, negative for a signal, and the changes it counted."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.close(reader)
        log = os.open(trial["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream in (1, 2):
            os.dup2(log, stream)
        broken_disk.disk_break(os.fsencode(trial["root"]), trial["place"], trial["how"], trial["error"])
        sys.argv = ["apmae", *trial["arguments"]]
        code = 1
        try:
            apmae.cli.main()
            code = 0
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else int(bool(stop.code))
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            changes = broken_disk.disk_changes()
            sys.stdout.flush()
            sys.stderr.flush()
            os.write(writer, str(changes).encode())
            os._exit(code)
    os.close(writer)
    with os.fdopen(reader) as told:
        changes = told.read()
    _, status = os.waitpid(child, 0)
    return {"code": os.waitstatus_to_exitcode(status), "changes": int(changes or 0)}


def serve():
    """Answer trials until the input ends."""
    for stage in STAGES:
        importlib.import_module(stage.module)
    broken_disk = ctypes.CDLL(os.environ["LD_PRELOAD"])
    broken_disk.disk_changes.restype = ctypes.c_long
    broken_disk.disk_break.argtypes = (ctypes.c_char_p, ctypes.c_long, ctypes.c_int, ctypes.c_int)
    _tell({"ready": True})
    for line in sys.stdin:
        _tell(run(json.loads(line), broken_disk))


def _tell(what):
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    serve()
