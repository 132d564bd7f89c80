"""What goes wrong in a run, planned ahead by simulated time."""
