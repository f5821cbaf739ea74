"""The same sixteen trials, run to the end by cnnlab and by what people would use instead, a file each."""
