"""What runs the trials of a study: here or in worker processes."""
