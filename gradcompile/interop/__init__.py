"""Other libraries, by their public interfaces: each module imports its own, and nothing else imports these."""
