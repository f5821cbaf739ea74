"""What is shown on stderr while something goes on."""
