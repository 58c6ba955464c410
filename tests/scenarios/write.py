"""Writes the result of every story beside it, for reading before it is committed."""

import json

from tests.scenarios.test_stories import FOLDER, STORIES, played


def main() -> None:
    """Writes `NAME.result.json` for each `NAME.json`."""
    for name in STORIES:
        text = json.dumps(played(name), indent=1, ensure_ascii=False)
        (FOLDER / f"{name}.result.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
