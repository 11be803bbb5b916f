"""The object directory: firmware that stations fetch, logs that they bring.

A file is there whole or not at all: it is written beside its place, synced and renamed; its facts
lie beside it as JSON, and those of a log are signed. Names that others chose never become paths.
Everything here blocks: call it in a thread."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

import msgspec
import orjson

from controlplane.errors import Exhausted, InvalidInput, NotFound
from controlplane.files.signing import Grant, Signer, check_firmware

__all__ = ["FileStore", "FirmwareImage", "Incoming", "LogFile"]

_NAME_MAX: Final = 80
_FACTS: Final = "facts.json"
_ABANDONED_S: Final = 86_400
"""What was not written to for so long is of a host that died."""
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]+")
_DISK_KEPT_BYTES: Final = 256 * 1024 * 1024
"""Less than this is left for the database alone."""
_LOGS_EACH_MAX: Final = 50
"""Logs that are kept of a charger; the oldest go."""


class FirmwareImage(msgspec.Struct, frozen=True):
    """A firmware file. `sha256` is its name for ever; `signed`: its maker's signature was held
    against it."""

    sha256: str
    md5: str
    name: str
    version: str
    size_bytes: int
    stored_ms: int
    signing_certificate: str | None = None
    signature: str | None = None

    @property
    def path(self) -> str:
        """Where it lies below the server's root."""
        return f"firmware/{self.sha256}/{self.name}"


class LogFile(msgspec.Struct, frozen=True):
    """A log as it was received. `authentic`: the facts are as Loadstar signed them, and the file
    is the one that they describe."""

    log_id: str
    charger_id: str
    request_id: int
    kind: str
    name: str
    size_bytes: int
    sha256: str
    received_ms: int
    remote: str
    authentic: bool = False


class Incoming:
    """A file on its way in."""

    def __init__(self, file: IO[bytes], max_bytes: int) -> None:
        self.size_bytes = 0
        self._file = file
        self._max_bytes = max_bytes
        self._sha256 = hashlib.sha256()
        self._md5 = hashlib.md5(usedforsecurity=False)

    def write(self, chunk: bytes) -> None:
        """Append.

        Raises:
            Exhausted: the file is longer than it may be, or the disk is nearly full.
        """
        self.size_bytes += len(chunk)
        if self.size_bytes > self._max_bytes:
            raise Exhausted(f"more than {self._max_bytes} bytes", reason="FILE_TOO_LARGE")
        try:
            self._file.write(chunk)
        except OSError as error:
            raise Exhausted(f"the disk takes no more: {error}", reason="DISK_FULL") from error
        self._sha256.update(chunk)
        self._md5.update(chunk)

    def flush(self) -> None:
        """Bring it to the disk.

        Raises:
            Exhausted: the disk takes no more.
        """
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise Exhausted(f"the disk takes no more: {error}", reason="DISK_FULL") from error

    @property
    def sha256(self) -> str:
        return self._sha256.hexdigest()

    @property
    def md5(self) -> str:
        return self._md5.hexdigest()


class FileStore:
    """Files below one directory.

    Args:
        directory: made where it is missing. Nodes that serve the same network share it.
        max_bytes: of one file.
    """

    def __init__(self, directory: Path, *, max_bytes: int) -> None:
        self._directory = directory
        self._max_bytes = max_bytes
        self.signer = Signer(directory)
        for name in ("firmware", "logs", "incoming"):
            (directory / name).mkdir(exist_ok=True)
        for left in (directory / "incoming").iterdir():
            with contextlib.suppress(FileNotFoundError):
                if time.time() - left.stat().st_mtime > _ABANDONED_S:
                    left.unlink()

    @contextmanager
    def incoming(self) -> Iterator[tuple[Incoming, Path]]:
        """A file to write to, and where it lies until it is kept; gone afterwards if it was not.

        Raises:
            Exhausted: the disk is nearly full.
        """
        if shutil.disk_usage(self._directory).free < _DISK_KEPT_BYTES:
            raise Exhausted("the disk is nearly full", reason="DISK_FULL")
        descriptor, name = tempfile.mkstemp(dir=self._directory / "incoming")
        path = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield Incoming(file, self._max_bytes), path
        finally:
            path.unlink(missing_ok=True)

    # --- firmware ---------------------------------------------------------------------------------

    def keep_firmware(
        self,
        incoming: Incoming,
        path: Path,
        *,
        name: str,
        version: str,
        stored_ms: int,
        signing_certificate: str | None = None,
        signature: str | None = None,
    ) -> FirmwareImage:
        """Keep what came in as firmware; the same file again replaces what is said of it.

        Raises:
            InvalidInput: it is empty, or the signature is not of this file.
        """
        if incoming.size_bytes == 0:
            raise InvalidInput("the file is empty", reason="FILE_EMPTY")
        if (signing_certificate is None) != (signature is None):
            raise InvalidInput(
                "a signature needs its certificate, and a certificate a signature",
                reason="SIGNATURE_INCOMPLETE",
            )
        incoming.flush()
        if signing_certificate is not None and signature is not None:
            check_firmware(
                path.read_bytes(), certificate_pem=signing_certificate, signature=signature
            )
        image = FirmwareImage(
            sha256=incoming.sha256,
            md5=incoming.md5,
            # It lies beside its facts.
            name=_safe(name) if _safe(name) != _FACTS else f"_{_FACTS}",
            version=version,
            size_bytes=incoming.size_bytes,
            stored_ms=stored_ms,
            signing_certificate=signing_certificate,
            signature=signature,
        )
        folder = self._directory / "firmware" / image.sha256
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        path.rename(folder / image.name)
        _write(folder / _FACTS, orjson.dumps(msgspec.to_builtins(image)))
        return image

    def firmware(self) -> list[FirmwareImage]:
        """Every image, the newest first."""
        found = [
            msgspec.json.decode(facts.read_bytes(), type=FirmwareImage)
            for facts in (self._directory / "firmware").glob(f"*/{_FACTS}")
        ]
        return sorted(found, key=lambda image: (-image.stored_ms, image.sha256))

    def firmware_image(self, sha256: str) -> FirmwareImage:
        """One image.

        Raises:
            NotFound: there is none.
        """
        facts = self._directory / "firmware" / sha256 / _FACTS
        if not re.fullmatch(r"[0-9a-f]{64}", sha256) or not facts.exists():
            raise NotFound(f"there is no firmware {sha256[:64]!r}", reason="FIRMWARE_UNKNOWN")
        return msgspec.json.decode(facts.read_bytes(), type=FirmwareImage)

    def firmware_path(self, sha256: str, name: str) -> Path:
        """Where an image's file lies.

        Raises:
            NotFound: there is none.
        """
        image = self.firmware_image(sha256)
        if image.name != name:
            raise NotFound(f"there is no firmware {name[:80]!r}", reason="FIRMWARE_UNKNOWN")
        return self._directory / image.path

    def delete_firmware(self, sha256: str) -> None:
        """Keep an image no longer.

        Raises:
            NotFound: there is none.
        """
        self.firmware_image(sha256)
        shutil.rmtree(self._directory / "firmware" / sha256)

    # --- logs -------------------------------------------------------------------------------------

    def keep_log(
        self,
        incoming: Incoming,
        path: Path,
        grant: Grant,
        *,
        name: str,
        received_ms: int,
        remote: str,
    ) -> LogFile:
        """Keep what came in as the log of `grant`; the oldest of a charger's many goes.

        Raises:
            InvalidInput: it is empty.
        """
        if incoming.size_bytes == 0:
            raise InvalidInput("the file is empty", reason="FILE_EMPTY")
        incoming.flush()
        log = LogFile(
            log_id=f"{received_ms}-{grant.request_id}-{incoming.sha256[:12]}",
            charger_id=grant.charger_id,
            request_id=grant.request_id,
            kind=grant.kind,
            name=_safe(name),
            size_bytes=incoming.size_bytes,
            sha256=incoming.sha256,
            received_ms=received_ms,
            remote=remote,
        )
        folder = self._folder(grant.charger_id)
        folder.mkdir(exist_ok=True)
        path.rename(folder / f"{log.log_id}.log")
        facts = _facts(log)
        signed = {"facts": facts, "signature": self.signer.sign(facts)}
        _write(folder / f"{log.log_id}.json", orjson.dumps(signed))
        for old in self.logs(grant.charger_id)[_LOGS_EACH_MAX:]:
            (folder / f"{old.log_id}.json").unlink(missing_ok=True)
            (folder / f"{old.log_id}.log").unlink(missing_ok=True)
        return log

    def logs(self, charger_id: str) -> list[LogFile]:
        """The logs of a charger, the newest first. Whether they are authentic is not looked at."""
        found = [
            msgspec.convert(orjson.loads(facts.read_bytes())["facts"], LogFile)
            for facts in self._folder(charger_id).glob("[0-9]*.json")
        ]
        return sorted(found, key=lambda log: log.received_ms, reverse=True)

    def log(self, charger_id: str, log_id: str) -> tuple[LogFile, Path]:
        """One log, held against its signature, and where its file lies.

        Raises:
            NotFound: there is none.
        """
        folder = self._folder(charger_id)
        path, facts = folder / f"{log_id}.log", folder / f"{log_id}.json"
        named = re.fullmatch(r"[0-9a-f-]{1,64}", log_id)
        if not named or not path.exists() or not facts.exists():
            raise NotFound(f"there is no log {log_id[:64]!r}", reason="LOG_UNKNOWN")
        signed = orjson.loads(facts.read_bytes())
        log = msgspec.convert(signed["facts"], LogFile)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        authentic = digest == log.sha256 and self.signer.signed(_facts(log), signed["signature"])
        return msgspec.structs.replace(log, authentic=authentic), path

    def _folder(self, charger_id: str) -> Path:
        # Charger ids hold characters that are no good in names of files, and case that may be lost.
        return self._directory / "logs" / charger_id.encode().hex()


def _facts(log: LogFile) -> dict[str, Any]:
    facts: dict[str, Any] = msgspec.to_builtins(log)
    del facts["authentic"]
    return facts


def _safe(name: str) -> str:
    """A station's or maker's name for a file, without what a path could be made of."""
    return _UNSAFE.sub("_", name.rsplit("/", 1)[-1])[-_NAME_MAX:].lstrip(".") or "file"


def _write(path: Path, text: bytes) -> None:
    partial = path.with_name(f".{path.name}")
    with partial.open("wb") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)
