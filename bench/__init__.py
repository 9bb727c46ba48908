"""Makes every number that the documentation claims."""
