"""vouch measured beside what it is built on, in the same run on the same machine. Needs Linux (`/proc`)."""
