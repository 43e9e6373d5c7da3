"""``logitlab audit``: how many faulty losses a test notices, and which kinds slip through."""
