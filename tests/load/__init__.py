"""Users of the guestbook: what they ask, what they were told, and whether it was true."""
