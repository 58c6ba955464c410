"""Writes what follows from every story, for reading before it is committed: results, explanations, docs/examples."""

import json

from tests.scenarios.pages import PAGES, pages
from tests.scenarios.test_explanations import EXPLAINED, explained, told_whole
from tests.scenarios.test_stories import FOLDER, STORIES, played


def main() -> None:
    """Writes `NAME.result.json` for each `NAME.json`, some in `explained/`, one page a story, and the index."""
    for name in STORIES:
        text = json.dumps(played(name), indent=1, ensure_ascii=False)
        (FOLDER / f"{name}.result.json").write_text(text + "\n", encoding="utf-8")
    for name in told_whole():
        text = json.dumps(explained(name), indent=1, ensure_ascii=False)
        (EXPLAINED / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    found = pages(STORIES)
    PAGES.mkdir(exist_ok=True)
    for old in PAGES.glob("*.md"):
        if old.name not in found:
            old.unlink()
    for name, text in found.items():
        (PAGES / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
