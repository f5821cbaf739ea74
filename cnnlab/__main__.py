"""`python -m cnnlab` is `cnnlab`."""

from cnnlab.cli import main

main()
