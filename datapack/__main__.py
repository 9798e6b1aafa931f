"""The program: ``datapack``, and ``python -m datapack``."""

import signal
import sys


def main() -> int:
    """Run the command line. During the imports, Ctrl-C shows no traceback; after the end, signals do nothing."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        from datapack import cli

        return cli.main()
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)


if __name__ == "__main__":
    sys.exit(main())
