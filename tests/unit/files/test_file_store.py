"""The object directory without HTTP: what a crash or an odd name leaves behind does no harm."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from controlplane.errors import NotFound
from controlplane.files.signing import Grant
from controlplane.files.store import FileStore, FirmwareImage, LogFile

GRANT = Grant("CP1", 7, "diagnostics", 2_000_000_000)


def keep_log(store: FileStore, *, received_ms: int = 1) -> LogFile:
    with store.incoming() as (incoming, path):
        incoming.write(b"line")
        return store.keep_log(
            incoming, path, GRANT, name="a.log", received_ms=received_ms, remote=""
        )


def keep_firmware(store: FileStore, name: str, image: bytes = b"image") -> FirmwareImage:
    with store.incoming() as (incoming, path):
        incoming.write(image)
        return store.keep_firmware(incoming, path, name=name, version="2.0", stored_ms=1)


def test_facts_that_were_half_written_when_the_host_died_hide_no_other_log(tmp_path: Path) -> None:
    store = FileStore(tmp_path, max_bytes=100)
    log = keep_log(store)
    folder = tmp_path / "logs" / b"CP1".hex()
    (folder / ".2-7-abc.json").write_bytes(b'{"facts": {"log_')
    assert store.logs("CP1") == [log]
    assert keep_log(store, received_ms=3) in store.logs("CP1")


def test_a_log_whose_facts_were_never_written_is_not_there(tmp_path: Path) -> None:
    store = FileStore(tmp_path, max_bytes=100)
    log = keep_log(store)
    (tmp_path / "logs" / b"CP1".hex() / f"{log.log_id}.json").unlink()
    with pytest.raises(NotFound):
        store.log("CP1", log.log_id)


def test_firmware_by_the_name_of_its_facts_is_served_as_it_came(tmp_path: Path) -> None:
    store = FileStore(tmp_path, max_bytes=100)
    image = keep_firmware(store, "./facts.json")
    served = store.firmware_path(image.sha256, image.name).read_bytes()
    assert hashlib.sha256(served).hexdigest() == image.sha256


def test_what_a_dead_host_had_half_received_goes_in_time(tmp_path: Path) -> None:
    FileStore(tmp_path, max_bytes=100)
    old, new = (tmp_path / "incoming" / name for name in ("old", "new"))
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (1, 1))
    FileStore(tmp_path, max_bytes=100)
    assert [path.name for path in (tmp_path / "incoming").iterdir()] == ["new"]
