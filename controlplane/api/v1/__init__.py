"""Generated from `proto/controlplane/api/v1` by `make proto`; not to be edited."""
