"""asyncsd in half a minute: instances come, die and go under a steady load, and no call fails.

    python examples/demo
    python examples/demo --registry consul://127.0.0.1:8500

It starts the embedded agent and some services as processes, calls them, and ends by itself: with status 0 if
no call failed and each phase held what it claims. Nothing is left: no process, no file, no registration.

What is worth reading first: calls.py, for how a client calls, and phases.py, for what is shown. fleet.py has
the processes, roster.py the watches, live.py and plain.py what is drawn.
"""

import sys

if __name__ == "__main__":
    try:
        from program import run  # Takes its time, and a Ctrl-C meanwhile is as good as any.

        sys.exit(run())
    except KeyboardInterrupt:
        print("stopped, and all that it started with it")
        sys.exit(130)
