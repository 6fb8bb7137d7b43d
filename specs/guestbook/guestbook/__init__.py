"""A guestbook: entries in Postgres, files in a folder, and nothing but Debian's Python."""
