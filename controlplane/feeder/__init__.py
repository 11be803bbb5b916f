"""One grid feeder: its capacity over time and the caps of its sites."""
