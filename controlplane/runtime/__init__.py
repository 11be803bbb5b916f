"""Virtual actors on Ray: gateways that hold sockets, hosts that hold state, ownership, transport,
timers, telemetry."""
