"""Where clusters run: one contract (`base`), one room per target, which know nothing of each other."""
