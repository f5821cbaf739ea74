"""What commands show: progress on stderr, results on stdout."""
