"""What vouch does: rules and permissions. Knows no HTTP, no SQL and no cloud SDK."""
