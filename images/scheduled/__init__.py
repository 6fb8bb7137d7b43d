"""The scheduled run: refresh, bake, prove, stage or swap in, tell, tidy up; and what starts it."""
