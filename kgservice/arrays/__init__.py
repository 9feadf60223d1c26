"""What numpy and Arrow lack: lists of different lengths, orders of rows, rows behind a table, content hashes."""
