"""The same training by cnnlab, by what people would use instead, and by the bare limit; each in a process of its own."""
