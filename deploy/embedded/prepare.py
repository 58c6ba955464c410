"""`python -m deploy.embedded.prepare [PART ...]`: fetches and builds what the embedded stack runs, once a machine."""

import signal
import sys
from typing import cast

from deploy.embedded.errors import EmbeddedError
from deploy.embedded.stack import EVERYTHING, PartName, prepare


def main(names: list[str]) -> int:
    """Prepares the named parts (all when none is named); the exit code."""
    unknown = [name for name in names if name not in EVERYTHING]
    if unknown:
        print(f"no part is called {unknown[0]}: choose from {', '.join(EVERYTHING)}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        prepare([cast(PartName, name) for name in names] or EVERYTHING)
    except EmbeddedError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: nothing half made is left, the next run starts again", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
