"""Writes `controlplane/api/v1` from `proto/`: `python -m controlplane.api.generate [DIRECTORY]`.

What it writes is committed, so that nobody needs a compiler to run Loadstar; a contract test
generates again and finds no difference. Needs the development dependencies."""

from __future__ import annotations

import sys
from importlib.resources import files
from pathlib import Path

__all__ = ["generate"]

_REPOSITORY = Path(__file__).parents[2]
_PACKAGE = Path("controlplane/api/v1")
_MARKER = '"""Generated from `proto/controlplane/api/v1` by `make proto`; not to be edited."""\n'


def generate(output: Path) -> list[Path]:
    """Write the generated package below `output`, which stands for the repository's root.

    Files of an earlier run that have no source any more are removed.

    Returns:
        What was written, relative to `output`.

    Raises:
        RuntimeError: the compiler refused the sources; it has said why on standard error.
    """
    from grpc_tools import protoc  # noqa: PLC0415 - a development dependency

    sources = sorted(str(path) for path in (_REPOSITORY / "proto" / _PACKAGE).glob("*.proto"))
    package = output / _PACKAGE
    package.mkdir(parents=True, exist_ok=True)
    for stale in [*package.glob("*_pb2*.py"), *package.glob("*_pb2*.pyi")]:
        stale.unlink()
    plugins = Path(sys.executable).parent
    status = protoc.main(
        [
            "protoc",
            f"--proto_path={_REPOSITORY / 'proto'}",
            f"--proto_path={files('grpc_tools') / '_proto'}",
            f"--plugin=protoc-gen-mypy={plugins / 'protoc-gen-mypy'}",
            f"--plugin=protoc-gen-mypy_grpc={plugins / 'protoc-gen-mypy_grpc'}",
            f"--python_out={output}",
            f"--grpc_python_out={output}",
            f"--mypy_out=quiet:{output}",
            f"--mypy_grpc_out=quiet:{output}",
            *sources,
        ]
    )
    if status != 0:
        raise RuntimeError(f"protoc ended with status {status}")
    (package / "__init__.py").write_text(_MARKER, encoding="utf-8")
    return sorted(path.relative_to(output) for path in package.glob("*.py*"))


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else _REPOSITORY)
