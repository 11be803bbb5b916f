"""`loadstar database`: what is stored, how much of it is kept, and how it gets out and back.

Works on the database itself, so it needs no running Loadstar, and disturbs none."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from controlplane.cli.connection import fail, instant
from controlplane.cli.output import table

if TYPE_CHECKING:
    from controlplane.config import Settings
    from controlplane.store.backup import Backup

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True,
    help="See, prune, export, back up and restore what is stored (docs/storage.md).",
)

DataDir = Annotated[
    Path | None, typer.Option(help="The data directory, for SQLite.", file_okay=False)
]
DatabaseUrl = Annotated[str | None, typer.Option(help="PostgreSQL instead of SQLite.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("status")
def status(
    data_dir: DataDir = None, database_url: DatabaseUrl = None, as_json: AsJson = False
) -> None:
    """Say how much of each kind is stored, since when, and how long it is kept.

    \b
    loadstar database status
    loadstar database status --database-url postgresql://loadstar@db/loadstar --json
    """
    import msgspec

    from controlplane.store.retention import Retained, Retention
    from controlplane.store.status import database_status

    settings = _settings(data_dir, database_url)
    with _told():
        found = database_status(_existing(settings))
    kept = {str(kind): days for kind, days in Retention.of(settings).days.items()}
    if as_json:
        document = msgspec.to_builtins(found)
        for name, kind in document["kinds"].items():
            kind["kept_days"] = kept.get(name)
        typer.echo(json.dumps(document, indent=2))
        return
    prunable = {str(kind) for kind in Retained}
    table(
        ["Kind", "#Rows", "Oldest (UTC)", "Newest (UTC)", "Kept"],
        (
            [
                name,
                f"{kind.rows:,}",
                _moment(kind.oldest_ms),
                _moment(kind.newest_ms),
                f"{kept[name]} days" if name in kept else "for ever" if name in prunable else "",
            ]
            for name, kind in found.kinds.items()
        ),
        title=f"{found.dialect}, tables of revision {found.revision}, "
        f"{found.size_bytes / 1e6:,.1f} MB",
    )


@app.command("prune")
def prune(
    data_dir: DataDir = None, database_url: DatabaseUrl = None, as_json: AsJson = False
) -> None:
    """Remove now what is older than the settings say, in small steps.

    A running Loadstar does this every hour by itself. How many days each kind is kept stand in
    LOADSTAR_RETENTION_SAMPLES_DAYS, _DECISIONS_DAYS, _JOURNAL_DAYS, _SECURITY_EVENTS_DAYS,
    _RESULTS_DAYS and _SESSIONS_DAYS; 0 is for ever. Ended sessions are kept for ever unless a
    setting says otherwise, running ones always.

    \b
    loadstar database prune
    LOADSTAR_RETENTION_SAMPLES_DAYS=90 loadstar database prune --data-dir /var/lib/loadstar
    """
    from controlplane.store.commit import StoreWriter
    from controlplane.store.engine import open_engine
    from controlplane.store.retention import Retained, Retention

    settings = _settings(data_dir, database_url)
    retention = Retention.of(settings)
    now_ms = time.time_ns() // 1_000_000
    removed: dict[str, int] = {}
    with _told():
        writer = StoreWriter(open_engine(_existing(settings), writer=True))
        try:
            for kind in Retained:
                before_ms = retention.before_ms(kind, now_ms)
                removed[kind] = 0
                while before_ms is not None and (step := writer.prune(kind, before_ms)):
                    removed[kind] += step
        finally:
            writer.close()
    if as_json:
        typer.echo(json.dumps(removed))
        return
    for name, number in removed.items():
        unit = " days" if name == Retained.SAMPLES else ""
        typer.echo(f"{name + ':':17} {number:,}{unit} removed")


@app.command("export")
def export(
    folder: Annotated[Path, typer.Argument(help="Where the files go.", file_okay=False)],
    from_: Annotated[str, typer.Option("--from", help="Begin, RFC 3339; a day will do.")],
    to: Annotated[str | None, typer.Option(help="End, not included; now where not given.")] = None,
    kind: Annotated[
        list[str] | None,
        typer.Option(help="sessions, samples, decisions or journal; all where not given."),
    ] = None,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Write what happened in a span of time as Parquet files, for analysis elsewhere.

    Meter samples come in a file for every day. Sessions count by their start, samples by when they
    were received. Memory does not grow with what there is.

    \b
    loadstar database export --from 2026-05-01 --to 2026-06-01 may/
    loadstar database export --from 2026-05-01T18:00:00Z --kind samples --kind sessions evening/
    """
    from controlplane.store import export as exporting

    kinds = []
    for name in kind or exporting.Exported:
        if name not in list(exporting.Exported):
            raise typer.BadParameter(
                f"{name!r} is none of {', '.join(exporting.Exported)}", param_hint="--kind"
            )
        kinds.append(exporting.Exported(name))
    from_ms = _instant_ms("--from", from_)
    until_ms = time.time_ns() // 1_000_000 if to is None else _instant_ms("--to", to)
    if until_ms <= from_ms:
        raise typer.BadParameter("is not after --from", param_hint="--to")
    with _told():
        written = exporting.export(
            _existing(_settings(data_dir, database_url)),
            folder,
            kinds,
            from_ms=from_ms,
            until_ms=until_ms,
        )
    if as_json:
        typer.echo(json.dumps({str(file): rows for file, rows in written.items()}, indent=2))
        return
    for file, rows in written.items():
        typer.echo(f"{file}: {rows:,} rows")


@app.command("backup")
def backup(
    file: Annotated[Path, typer.Argument(help="Where it is written.", dir_okay=False)],
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Write everything that is stored into one file, while Loadstar runs.

    The file holds one state of the database, needs no tools of the database to be restored, and
    fits SQLite and PostgreSQL alike: it is also the way from one to the other. It holds the hashes
    of passwords and is readable for its owner alone. The keys of `loadstar ca` are no part of it.

    \b
    loadstar database backup loadstar.backup
    loadstar database backup --database-url postgresql://loadstar@db/loadstar nightly.backup
    """
    from controlplane.store.backup import back_up

    with _told():
        written = back_up(_existing(_settings(data_dir, database_url)), file)
    _print(f"{file}", written, as_json=as_json)


@app.command("verify")
def verify(
    file: Annotated[Path, typer.Argument(help="A back-up.", dir_okay=False)],
    as_json: AsJson = False,
) -> None:
    """Read a back-up to its end, compare its checksum, and say what it holds.

    \b
    loadstar database verify loadstar.backup
    """
    from controlplane.store.backup import verify as verified

    with _told():
        found = verified(file)
    _print(f"{file} is whole", found, as_json=as_json)


@app.command("restore")
def restore(
    file: Annotated[Path, typer.Argument(help="A back-up.", dir_okay=False)],
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Fill an empty database with what a back-up holds; `loadstar up` goes on from there.

    The checksum is compared first, and everything is restored or nothing. Tables of an older
    Loadstar are brought up to date. Owners' epochs and the journal's cursors begin above all that
    were ever given out, so that nothing that still runs on the old database is obeyed, and no
    reader of the journal misses what is new.

    \b
    loadstar database restore loadstar.backup --data-dir new-data
    loadstar database restore loadstar.backup --database-url postgresql://loadstar@db/new
    """
    from controlplane.store.backup import restore as restored

    with _told():
        found = restored(file, _settings(data_dir, database_url).database)
    _print(f"{file} is restored", found, as_json=as_json)


def _print(what: str, backup: Backup, *, as_json: bool) -> None:
    if as_json:
        import msgspec

        typer.echo(json.dumps(msgspec.to_builtins(backup), indent=2))
        return
    typer.echo(
        f"{what}: {backup.rows:,} rows in {len(backup.tables)} tables of {backup.dialect} at "
        f"{_moment(backup.at_ms)} UTC, Loadstar {backup.loadstar}\nsha256 {backup.sha256}"
    )


def _settings(data_dir: Path | None, database_url: str | None) -> Settings:
    from controlplane.config import Settings

    given = {"data_dir": data_dir, "database_url": database_url}
    return Settings(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]


def _existing(settings: Settings) -> str:
    """The URL of the database; a file of SQLite that is not there would be made by looking."""
    if not settings.database_url and not (settings.data_dir / "loadstar.db").is_file():
        fail(f"no database in {settings.data_dir}: give --data-dir or --database-url")
    return settings.database


def _instant_ms(option: str, text: str) -> int:
    stamp = instant(option, text)
    assert stamp is not None
    return stamp.ToMilliseconds()


def _moment(at_ms: int | None) -> str:
    if at_ms is None:
        return ""
    return f"{datetime.fromtimestamp(at_ms / 1_000, UTC):%Y-%m-%d %H:%M:%S}"


@contextmanager
def _told() -> Iterator[None]:
    """Says what went wrong in words, and ends with status 1."""
    from controlplane.errors import LoadstarError

    try:
        yield
    except LoadstarError as error:
        fail(error.message)
    except OSError as error:
        fail(str(error))
