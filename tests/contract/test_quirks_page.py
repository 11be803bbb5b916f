"""The page about makes says what the files say."""

from __future__ import annotations

from pathlib import Path

from controlplane.charger.quirk_page import page
from controlplane.charger.quirks import PROFILES, Quirks

REPOSITORY = Path(__file__).parents[2]


def test_the_page_is_what_the_files_say() -> None:
    committed = (REPOSITORY / "docs/quirks.md").read_text(encoding="utf-8")
    assert committed == page(), "run `python -m controlplane.charger.quirk_page`"


def test_every_field_and_every_file_is_explained() -> None:
    explained = page()
    for name in Quirks.__struct_fields__:
        assert f"| `{name}` |" in explained
    files = {path.stem for path in (REPOSITORY / "controlplane/charger/quirks").glob("*.toml")}
    assert files == set(PROFILES)
