"""The page about deviations is made of their recordings and says no more than these show.

Run this file as a program to write `docs/deviations.md` anew."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent
PAGE = Path(__file__).parents[3] / "docs/deviations.md"
INTRODUCTION = """\
# Deviations seen in the field, and what Loadstar does

This page is generated from the recordings under `tests/golden/ocpp`:
`python tests/golden/ocpp/test_ocpp_deviations.py`. Each recording is a conversation, frame by
frame. It is replayed twice: to a charger's actor, every output compared exactly, and through real
sockets to a node, beside a station that keeps to the letter and must notice nothing.

Common to all: no deviation closes a socket; every CALL is answered; what was mended is journalled
once (`charger.deviation`); what carries energy and cannot be believed is kept for an operator
(`loadstar quarantine list`), see [transactions.md](transactions.md).

| deviation | what Loadstar does | recording |
| --- | --- | --- |
"""


def page() -> str:
    """The whole page as Markdown."""
    rows = []
    for readme in sorted(FOLDER.glob("deviation-*/README.md")):
        title, _, text = readme.read_text(encoding="utf-8").partition("\n")
        words = " ".join(text.split())
        name = readme.parent.name
        link = f"[{name.removeprefix('deviation-')}](../tests/golden/ocpp/{name}/frames.txt)"
        rows.append(f"| {title.removeprefix('# ')} | {words} | {link} |\n")
    return INTRODUCTION + "".join(rows)


def test_the_page_is_what_the_recordings_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), f"run python {Path(__file__).name}"


def test_every_recording_says_what_is_done_and_shows_it() -> None:
    for folder in FOLDER.glob("deviation-*"):
        lines = (folder / "README.md").read_text(encoding="utf-8").splitlines()
        assert lines[0].startswith("# ")
        assert "|" not in "".join(lines), folder.name
        assert " ".join(lines[2:]).strip(), folder.name
        frames = (folder / "frames.txt").read_text(encoding="utf-8")
        assert "\n> " in frames or "\n>> " in frames, folder.name
        assert "\n< " in frames, folder.name


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
