"""`python -m service`: serve by the settings of the environment."""

import logging
import os
import sys

# OpenBLAS reads this when it is loaded: one request is too small to be worth several threads.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import uvicorn
from pydantic import ValidationError

from service.app import create_app
from service.settings import Settings


def main() -> int:
    """Serve until stopped; returns the exit code."""
    try:
        settings = Settings()
    except ValidationError as error:
        for fault in error.errors():
            name = "SEGUE_" + "_".join(str(part) for part in fault["loc"]).upper()
            print(f"error: {name} is {fault['input']!r}: {fault['msg']}", file=sys.stderr)
        return 2
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(message)s")
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        log_level=settings.log_level,
        access_log=settings.access_log,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
