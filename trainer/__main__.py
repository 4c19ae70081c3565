"""`python -m trainer`."""

from service.streams import guard_streams
from trainer.cli import main
from trainer.interruptible import exit_process

if __name__ == "__main__":
    guard_streams()
    try:
        code = main()
    except SystemExit as left:  # of argparse, or of SIGTERM
        code = left.code if isinstance(left.code, int) else 1
    exit_process(code)
