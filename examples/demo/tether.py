"""Runs a program that ends with the one that started it.

    python tether.py service.py --port 0
    python tether.py -m asyncsd agent --port 0

Standard input is a pipe that only the starter holds. However the starter ends, by SIGKILL too, the system
closes it: the program then gets SIGTERM, to end as it should, and is gone after LINGER seconds at most.
"""

import os
import runpy
import signal
import sys
import threading
import time

LINGER = 5.0


def end_with_the_starter() -> None:
    while os.read(sys.stdin.fileno(), 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(LINGER)
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=end_with_the_starter, daemon=True).start()
    del sys.argv[0]
    if sys.argv[0] == "-m":
        del sys.argv[0]
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(sys.argv[0], run_name="__main__")
