"""One site: its circuits, its sessions' demand, the liability ledger and the allocation rounds."""
