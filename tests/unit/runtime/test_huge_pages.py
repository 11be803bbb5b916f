"""Which of a process' mappings are brought onto large pages, and that the kernel does it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from controlplane.runtime.huge_pages import full_mappings, use_huge_pages

_MIB = 1_024 * 1_024


def _mapping(start: int, end: int, rss_kib: int, access: str = "rw-p", name: str = "") -> list[str]:
    return [
        f"{start:x}-{end:x} {access} 00000000 00:00 0 {name}".rstrip(),
        f"Size:           {(end - start) // 1_024} kB",
        f"Rss:            {rss_kib} kB",
        "VmFlags: rd wr mr mw me ac sd",
    ]


def test_a_full_mapping_is_taken_as_far_as_whole_large_pages_go() -> None:
    smaps = _mapping(3 * _MIB, 13 * _MIB, 10 * 1_024)
    assert list(full_mappings(smaps)) == [(4 * _MIB, 12 * _MIB)]


def test_stacks_and_what_is_merely_reserved_stay_as_they_are() -> None:
    smaps = [
        *_mapping(0, 8 * _MIB, 64),
        *_mapping(8 * _MIB, 16 * _MIB, 7 * 1_024),
        *_mapping(16 * _MIB, 24 * _MIB, 7 * 1_024 - 4),
    ]
    assert list(full_mappings(smaps)) == [(8 * _MIB, 16 * _MIB)]


@pytest.mark.parametrize(
    ("access", "name"), [("r-xp", ""), ("rw-s", "/dev/shm/plasma"), ("rw-p", "/usr/lib/libc.so.6")]
)
def test_only_what_is_its_own_is_taken(access: str, name: str) -> None:
    smaps = [
        *_mapping(0, 4 * _MIB, 4 * 1_024, access, name),
        *_mapping(4 * _MIB, 8 * _MIB, 4 * 1_024, name="[heap]"),
    ]
    assert list(full_mappings(smaps)) == [(4 * _MIB, 8 * _MIB)]


def test_what_a_process_holds_comes_onto_large_pages() -> None:
    if not use_huge_pages():
        pytest.skip("this kernel does not let us")
    script = (
        "from pathlib import Path\n"
        "from controlplane.runtime.huge_pages import use_huge_pages\n"
        "kept = [[number] for number in range(400_000)]\n"
        "use_huge_pages()\n"
        "print(Path('/proc/self/smaps_rollup').read_text())\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=60
    )
    (line,) = [each for each in told.stdout.splitlines() if each.startswith("AnonHugePages:")]
    assert int(line.split()[1]) >= 8 * 1_024
