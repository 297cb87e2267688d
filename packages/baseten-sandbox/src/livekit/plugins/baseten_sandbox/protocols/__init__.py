"""One module a protocol: what Baseten's model servers say and refuse."""
