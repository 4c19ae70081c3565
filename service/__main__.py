"""`python -m service`."""

import sys

from service.cli import main
from service.streams import guard_streams

if __name__ == "__main__":
    guard_streams()
    sys.exit(main())
