"""The cloud end of Fieldnode: broker, ingest, store and queries. Run it with `python -m cloud`; see README.md."""
