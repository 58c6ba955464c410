"""The worked examples in docs/examples say what the stories say. `python -m tests.scenarios.write` renews them."""

from dataclasses import fields, is_dataclass

import pytest

from billing.scenario import catalog_parts, document
from billing.scenario.parse import ACTIONS
from tests.scenarios.pages import PAGES, pages, shown
from tests.scenarios.subjects import EXCEPTIONS, SUBJECTS
from tests.scenarios.test_stories import STORIES

OUTDATED = "run: python -m tests.scenarios.write"


@pytest.fixture(scope="module")
def wanted() -> dict[str, str]:
    return pages(STORIES)


def test_every_story_has_its_page_and_no_page_is_left_over(wanted: dict[str, str]) -> None:
    assert {path.name for path in PAGES.glob("*.md")} == set(wanted), OUTDATED
    assert set(wanted) == {"README.md", *(f"{name}.md" for name in STORIES)}


@pytest.mark.parametrize("name", ["README", *STORIES])
def test_the_page_is_up_to_date(name: str, wanted: dict[str, str]) -> None:
    assert (PAGES / f"{name}.md").read_text(encoding="utf-8") == wanted[f"{name}.md"], OUTDATED


def test_the_index_lists_each_story_once(wanted: dict[str, str]) -> None:
    assert all(wanted["README.md"].count(f"]({name}.md)") == 1 for name in STORIES)
    assert set(EXCEPTIONS.values()) <= {title for title, _ in SUBJECTS}
    assert set(EXCEPTIONS) <= set(STORIES)


def test_documents_are_shown_as_short_as_they_can_be() -> None:
    assert shown({"a": [1, {"b": "c"}]}) == '{"a": [1, {"b": "c"}]}'
    long = "x" * 60
    assert shown({"a": [long, long]}) == f'{{\n  "a": [\n    "{long}",\n    "{long}"\n  ]\n}}'
    assert shown({"a": long, "b": []}, before=50) == f'{{\n  "a": "{long}",\n  "b": []\n}}'


def test_the_guide_names_every_field_and_every_action() -> None:
    guide = (PAGES.parent / "scenarios.md").read_text(encoding="utf-8")
    parts = [each for module in (document, catalog_parts) for each in vars(module).values() if is_dataclass(each)]
    wanted = {field.name for part in parts for field in fields(part)} | set(ACTIONS)
    assert {name for name in wanted if f"`{name}`" not in guide} == set(), "say it in docs/scenarios.md"
