"""cnnlab beside what people would use instead: speed, overheads, searches."""
