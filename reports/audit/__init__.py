"""What auditors take with them: the whole book, checkable without us."""
