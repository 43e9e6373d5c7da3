"""The properties that the measured lines test or break, and the words for what happened."""
