"""One charger: its actor, its transactions, the commands sent to it, its diagnosis and healing."""
