"""The commands, one module each: its options, the call that it makes, and its answer as text and as JSON."""
