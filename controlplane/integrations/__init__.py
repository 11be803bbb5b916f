"""What Loadstar speaks to besides chargers: meters over Modbus TCP, utilities over OpenADR 3.

A room of its own above the API. Invariant: nothing here decides about power. An integration turns
what others say into the requests that any program may send, and can be left out or replaced by one
that speaks another protocol."""
