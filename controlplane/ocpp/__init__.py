"""OCPP-J without IO: framing, schema validation, and the translation of each version to one set of
domain events and commands. Nothing outside this room knows a version."""
