// Tells the server the reader's time zone once, so that absolute times are in it. Settings can choose another.
const known = document.cookie.split("; ").some((part) => part.startsWith("tz="));
const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
if (!known && zone) document.cookie = `tz=${zone}; path=/; max-age=31536000; samesite=lax`;
