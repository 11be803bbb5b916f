"""The durable side: SQL schema, group commit, the journal of domain events."""
