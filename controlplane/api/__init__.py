"""The public gRPC contract and the services behind it.

`v1/` is generated from `proto/` and committed. The services hold no state of their own: every
answer comes from an actor or from the store, and every mutation is an actor's."""
