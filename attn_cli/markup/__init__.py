"""Files with texts in them: found, and put back translated; all else stays as it is."""
