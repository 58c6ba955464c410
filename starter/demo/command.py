"""`durabill demo`: plays the story against a running API and says whether every invoice is right."""

import sys
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from starter.demo.api import Api, DemoError
from starter.demo.report import progress_view, show, show_json, succeeded
from starter.demo.runner import play

STATE_FOLDER = Path(".durabill") / "demo"
LOG_WIDTH = 140


def run_demo(
    base_url: str, api_key: str, temporal_ui_url: str, json_output: bool = False, state_folder: Path = STATE_FOLDER
) -> int:
    """Plays the story, or what is left of it, and shows the result. Exit code: 0 if all is as it must be, else 1.

    `base_url` is the API's root, such as http://127.0.0.1:8080; `state_folder` keeps the webhook secret and the PDFs.
    """
    errors = Console(stderr=True)
    api = Api(base_url, api_key)
    try:
        with progress_view(errors) as view:
            outcome = play(api, state_folder, view)
    except DemoError as error:
        errors.print(f"[red]The demo stopped:[/red] {escape(str(error))}", highlight=False)
        return 1
    finally:
        api.close()
    # Without a terminal rich would fold everything to 80 columns, which no log needs.
    output = Console() if sys.stdout.isatty() else Console(width=LOG_WIDTH)
    (show_json if json_output else show)(outcome, temporal_ui_url, output)
    return 0 if succeeded(outcome) else 1
