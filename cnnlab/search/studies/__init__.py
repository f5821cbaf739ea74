"""The studies of a sweep: what is asked for, where it is kept, who works on what."""
