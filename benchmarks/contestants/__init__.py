"""The same training by cnnlab, by what people would use instead, and by the bare limit; a process each."""
