"""The command line of the fuzzers."""

from tests.fuzz.run import main

raise SystemExit(main())
