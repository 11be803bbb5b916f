"""Building meters that are read over Modbus TCP."""
