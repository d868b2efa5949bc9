"""Jobs that succeed, fail, crash and hang, for processes that must be able to import them."""

import os
import signal
import threading
import time
from pathlib import Path


class Start:
    """Gives every process a handler of (what, argument)."""

    def __init__(self, folder=None, broken=False):
        self.folder, self.broken = folder, broken

    def __call__(self, place):
        if self.broken:
            raise ValueError("no\nmodel")
        if self.broken is None:
            os._exit(7)
        return lambda job, report: self.do(place, job, report)

    def do(self, place, job, report):
        what, argument = job
        if what == "double":
            report((1, 2))
            return 2 * argument
        if what == "raise":
            raise RuntimeError(f"bad {argument}")
        if what == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if what == "die once":
            Path(argument).parent.mkdir(exist_ok=True)
            try:
                Path(argument).touch(exist_ok=False)
            except FileExistsError:
                return place
            os.kill(os.getpid(), signal.SIGKILL)
        if what == "die afterwards":  # while another one is at work
            while not Path(argument).exists():
                time.sleep(0.01)
            threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGKILL)).start()
        if what == "be at work":
            Path(argument).touch()
            time.sleep(0.6)
        if what == "hang":
            report(None)
            time.sleep(600)
        if what in ("for ever", "for ever and loudly"):  # until it is told to end; leaves a file that says so
            try:
                while True:
                    report((0, 0) if what == "for ever" else bytes(10**6))  # more than a pipe holds
                    time.sleep(0.01)
            finally:
                Path(argument).write_text("closed")
        return place
