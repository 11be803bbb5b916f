"""`python -m controlplane.cli` is `loadstar`."""

from controlplane.cli import main

if __name__ == "__main__":
    main()
