"""The steps from a competition's files to a submission; each reads and writes files, so each can run again alone."""
