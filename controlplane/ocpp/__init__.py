"""OCPP-J without IO: framing, schema validation, and the translation of each version to one set of
domain events and commands. Nothing outside this room knows a version.

What a gateway needs: `versions.SUBPROTOCOLS`, `framing.parse` and `framing.encode_*`,
`schemas.check_call` for what a station sends and `schemas.check_result` for what it answers. What a
`ChargerActor` needs: `versions.DIALECTS` and `schemas.check_command`."""
