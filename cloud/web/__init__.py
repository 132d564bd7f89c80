"""The read-only web page, HTTP API and metrics: a process of its own that opens the database for reading only."""
