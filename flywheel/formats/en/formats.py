"""Names are Django's; the letters are those of its ``date`` filter."""

DATE_FORMAT = "j F Y"
TIME_FORMAT = "H:i:s"
DATETIME_FORMAT = "j F Y, H:i:s"
SHORT_DATE_FORMAT = "Y-m-d"
SHORT_DATETIME_FORMAT = "Y-m-d H:i:s"
FIRST_DAY_OF_WEEK = 1
