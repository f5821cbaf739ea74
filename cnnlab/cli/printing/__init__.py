"""What is printed on stdout at the end."""
