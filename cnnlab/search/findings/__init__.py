"""What a sweep found, and its report."""
