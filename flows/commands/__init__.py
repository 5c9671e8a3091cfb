"""The command's verbs, one a file; each imports what it needs when it is called, not before."""
