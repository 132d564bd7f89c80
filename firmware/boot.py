"""Runs before main.py at every boot. The ESP32 needs nothing here."""
