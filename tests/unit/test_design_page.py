"""docs/design.md shows the rooms and imports that there are; no page names a file that is not there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.import_picture import Package, draw
from tests.source_tree import PACKAGE, ROOT, SOURCE

PAGE = (ROOT / "docs" / "design.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PARTS = ("agent", "transport", "calibration", "native")
TOP_FOLDERS = (*PARTS, "docs", "src", "systemd", "tests")
SOURCE_KINDS = {".py", ".pyx", ".h", ".c"}
MAX_FILES_OF_A_BATCH = 25


def section(title: str) -> str:
    """The text under one heading, up to the next heading of any level."""
    found = re.search(rf"^#+ {re.escape(title)}$(.*?)(?=^#|\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found, f"docs/design.md has no heading {title!r}"
    return found[1]


def paths_in(text: str) -> list[str]:
    """What stands in backquotes and begins with one of the top folders."""
    quoted = re.findall(r"`([^`\s]+)`", text)
    return [word for word in quoted if "/" in word and word.split("/")[0] in TOP_FOLDERS]


def rooms_on_disk() -> set[str]:
    """Every folder of the parts that has sources in it; the parts themselves where modules lie in them."""
    found = set()
    for part in PARTS:
        for folder in (PACKAGE / part, *(PACKAGE / part).iterdir()):
            sources = [path for path in folder.glob("*") if path.suffix in SOURCE_KINDS and path.name != "__init__.py"]
            if sources and "egg-info" not in folder.name:
                found.add(f"{folder.relative_to(PACKAGE)}/")
    return found


def test_the_table_of_rooms_has_every_room_and_no_other() -> None:
    rows = re.findall(r"^\| `([a-z_]+/(?:[a-z_]+/)?)` \|", section("Rooms"), re.MULTILINE)
    assert len(rows) == len(set(rows))
    assert set(rows) == rooms_on_disk()


def test_every_row_says_what_a_room_knows_and_what_it_does_not() -> None:
    for row in re.findall(r"^\| `.*$", section("Rooms"), re.MULTILINE):
        _, knows, knows_not = (cell.strip() for cell in row.strip("|").split(" | "))
        assert knows
        assert knows_not


@pytest.mark.parametrize("part", PARTS)
def test_the_pictures_of_imports_are_those_of_the_sources(part: str) -> None:
    picture = f"{part}/: {draw(Package(SOURCE).room_edges(part))}\n"
    page = re.sub("^    ", "", section("Imports"), flags=re.MULTILINE)
    assert picture in page, f"docs/design.md should have:\n{picture}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_path_that_a_page_names_exists(page: Path) -> None:
    assert [path for path in paths_in(page.read_text()) if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_between_pages_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^):#]+)[^):]*\)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_following_one_batch_takes_few_files_and_names_each_once() -> None:
    lines = re.findall(r"^(\d+)\. `([^`]+\.py)`: \S.*\.$", section("Following one batch"), re.MULTILINE)
    assert [int(number) for number, _ in lines] == list(range(1, len(lines) + 1))
    files = [path for _, path in lines]
    assert files == paths_in(section("Following one batch"))
    assert len(set(files)) == len(files) <= MAX_FILES_OF_A_BATCH
    assert all(Path(ROOT, path).is_file() for path in files)
    assert files[0] == "agent/client/client.py"
    assert files[-1].startswith("transport/estimate/")


def test_it_says_where_to_change_what() -> None:
    rows = re.findall(r"^\| an? ([^|]+?) \|", section("Where to change what"), re.MULTILINE)
    wanted = "codec", "objective", "metric", "configuration key", "message", "policy", "probe", "command"
    assert [name for name in wanted if not any(row.startswith(name) for row in rows)] == []
