"""`make bench`: every benchmark."""

from benchmarks.posting import main

main()
