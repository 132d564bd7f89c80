"""Load on a cloud end: simulated nodes of the host, hundreds in one process, each with TLS and MQTT of its own."""
