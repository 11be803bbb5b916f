"""The command line: `loadstar`.

Everything but `up`, `demo`, `bench` and `sim` is a gRPC client. What a command needs is imported
when it runs, so that `--help` answers at once and Ray is loaded only where it runs."""

from controlplane.cli.root import app

__all__ = ["app", "main"]


def main() -> None:
    """Run the command of `sys.argv`."""
    app()
