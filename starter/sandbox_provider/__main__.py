"""`python -m starter.sandbox_provider --port P --books FILE`: the fake payment company without the rest of the CLI."""

import argparse
import os
from pathlib import Path

from starter.sandbox_provider.server import serve


def main() -> None:
    """Read the arguments and serve."""
    parser = argparse.ArgumentParser(prog="sandbox-provider", description="A fake payment company. It moves no money.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--books", type=Path, required=True, help="SQLite file; created when missing")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--webhook-url", default=os.environ.get("DURABILL_SANDBOX_WEBHOOK_URL"))
    parser.add_argument("--webhook-secret", default=os.environ.get("DURABILL_SANDBOX_WEBHOOK_SECRET"))
    arguments = parser.parse_args()
    serve(arguments.port, arguments.books, arguments.host, arguments.webhook_url, arguments.webhook_secret)


if __name__ == "__main__":
    main()
